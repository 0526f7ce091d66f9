"""Oban for SQLAlchemy: background jobs in the transaction of your own session.

``session.add(send_welcome.new(user_id=7))`` enqueues, an :class:`Oban` runs, ``select(Job)`` is the history.
"""

from . import migrations, telemetry
from .backoff import Backoff
from .config import Heartbeat
from .context import cancelled, current_job
from .cron import Cron
from .enqueue import enqueue
from .errors import (
    DatabaseUnavailable,
    Fenced,
    InvalidArgs,
    InvalidOption,
    JobCancelled,
    JobDiscarded,
    JobFailed,
    JobTimeout,
    NotInJob,
    ObanError,
    ResultTimeout,
    SchemaOutdated,
    UnknownWorker,
    UnsupportedDatabase,
    WorkerConflict,
)
from .later import later
from .limits import Queue
from .models import Job, JobSpec, Leader, Producer, metadata, use_schema
from .outcomes import Cancel, Discard, Record, Snooze
from .retention import Prune
from .runtime.health import Health
from .runtime.oban import Oban
from .runtime.queues import QueueInfo
from .runtime.why import Why
from .types import JobState
from .unique import Unique
from .worker import job, worker

__all__ = [
    "Backoff",
    "Cancel",
    "Cron",
    "DatabaseUnavailable",
    "Discard",
    "Fenced",
    "Health",
    "Heartbeat",
    "InvalidArgs",
    "InvalidOption",
    "Job",
    "JobCancelled",
    "JobDiscarded",
    "JobFailed",
    "JobSpec",
    "JobState",
    "JobTimeout",
    "Leader",
    "NotInJob",
    "Oban",
    "ObanError",
    "Producer",
    "Prune",
    "Queue",
    "QueueInfo",
    "Record",
    "ResultTimeout",
    "SchemaOutdated",
    "Snooze",
    "Unique",
    "UnknownWorker",
    "UnsupportedDatabase",
    "Why",
    "WorkerConflict",
    "cancelled",
    "current_job",
    "enqueue",
    "job",
    "later",
    "metadata",
    "migrations",
    "telemetry",
    "use_schema",
    "worker",
]
