"""Oban for SQLAlchemy: background jobs in the transaction of your own session.

``session.add(send_welcome.new(user_id=7))`` enqueues, an :class:`Oban` runs, ``select(Job)`` is the history.
"""

from . import migrations, telemetry
from .enqueueing.enqueue import enqueue
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
from .insight.health import Health
from .insight.queues import QueueInfo
from .insight.why import Why
from .models import Job, JobSpec, Leader, Producer, metadata, use_schema
from .oban import Oban
from .options.backoff import Backoff
from .options.heartbeat import Heartbeat
from .options.later import later
from .options.prune import Prune
from .options.queue import Queue
from .options.unique import Unique
from .types import JobState
from .workers.context import cancelled, current_job
from .workers.cron import Cron
from .workers.outcomes import Cancel, Discard, Record, Snooze
from .workers.worker import job, worker

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
