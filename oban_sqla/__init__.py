"""Oban for SQLAlchemy: background jobs in the transaction of your session.

``session.add(send_welcome.new(user_id=7))`` enqueues, an :class:`Oban` runs, ``select(Job)`` is the history.
"""

from typing import TYPE_CHECKING, Any

from . import migrations, telemetry
from .control.crons import Crons
from .control.flow_of import RunningFlow, flow_of
from .control.limiter import Limiter
from .control.result import Result
from .control.streams import LogLine
from .enqueueing.enqueue import enqueue
from .enqueueing.from_query import enqueue_from
from .enqueueing.wakeup import use_notify
from .errors import (
    ChildDied,
    DatabaseUnavailable,
    EmbeddedError,
    Fenced,
    InvalidArgs,
    InvalidOption,
    JobCancelled,
    JobDiscarded,
    JobFailed,
    JobTimeout,
    KeyMissing,
    NotAWorker,
    NotInJob,
    ObanError,
    ResultTimeout,
    SchemaOutdated,
    SignalTimeout,
    UnknownWorker,
    UnsupportedDatabase,
    WorkerConflict,
)
from .insight.health import Health
from .insight.queues import QueueInfo
from .insight.why import Reason, Why
from .models import Batch, Job, JobSpec, Leader, Producer, Workflow, metadata, use_schema
from .models.cron import CronEntry
from .models.node import Node, Nodes
from .models.progress import Progress
from .models.relationship import job_relationship
from .oban import Oban
from .options.backoff import Backoff
from .options.chain import Chain
from .options.chunk import Chunk
from .options.encryption import Encryption, configure_encryption
from .options.heartbeat import Heartbeat
from .options.job_logs import JobLogs
from .options.later import later
from .options.limits import Partition, RateLimit
from .options.prioritize import Prioritize, PrioritizePolicy
from .options.processes import Processes
from .options.prune import Prune, PrunePolicy
from .options.queue import Queue
from .options.resources import Resource
from .options.unique import Unique
from .options.url import async_url
from .types import JobState
from .workers.classes import worker
from .workers.context import cancelled, current_job, release_slot
from .workers.cron import Cron
from .workers.hooks import Hook
from .workers.injection import injected
from .workers.job import job
from .workers.journal import emit, progress
from .workers.outcomes import Cancel, Discard, Record, Snooze

if TYPE_CHECKING:
    from .insight.doctor import Finding

    __version__: str
    """The version of this package, such as ``"0.1.0"``; ``"unknown"`` where it runs without having been installed."""

__all__ = [
    "Backoff",
    "Batch",
    "Cancel",
    "Chain",
    "ChildDied",
    "Chunk",
    "Cron",
    "CronEntry",
    "Crons",
    "DatabaseUnavailable",
    "Discard",
    "EmbeddedError",
    "Encryption",
    "Fenced",
    "Finding",
    "Health",
    "Heartbeat",
    "Hook",
    "InvalidArgs",
    "InvalidOption",
    "Job",
    "JobCancelled",
    "JobDiscarded",
    "JobFailed",
    "JobLogs",
    "JobSpec",
    "JobState",
    "JobTimeout",
    "KeyMissing",
    "Leader",
    "Limiter",
    "LogLine",
    "Node",
    "Nodes",
    "NotAWorker",
    "NotInJob",
    "Oban",
    "ObanError",
    "Partition",
    "Prioritize",
    "PrioritizePolicy",
    "Processes",
    "Producer",
    "Progress",
    "Prune",
    "PrunePolicy",
    "Queue",
    "QueueInfo",
    "RateLimit",
    "Reason",
    "Record",
    "Resource",
    "Result",
    "ResultTimeout",
    "RunningFlow",
    "SchemaOutdated",
    "SignalTimeout",
    "Snooze",
    "Unique",
    "UnknownWorker",
    "UnsupportedDatabase",
    "Why",
    "WorkerConflict",
    "Workflow",
    "async_url",
    "cancelled",
    "configure_encryption",
    "current_job",
    "emit",
    "enqueue",
    "enqueue_from",
    "flow_of",
    "injected",
    "job",
    "job_relationship",
    "later",
    "metadata",
    "migrations",
    "progress",
    "release_slot",
    "telemetry",
    "use_notify",
    "use_schema",
    "worker",
]


# What few programs need, or what needs an extra, is imported when a program names it: oban_sqla.testing.drain(session).
_PARTS = {"dask", "doctor", "durable", "embedded", "healthcheck", "otel", "prometheus", "testing", "web"}


def __getattr__(name: str) -> Any:
    if name in _PARTS:
        from importlib import import_module

        return import_module(f".{name}", __name__)
    if name == "Finding":
        from .insight.doctor import Finding

        return Finding
    if name == "__version__":
        # Not at the import, which it would make 2 ms slower.
        from importlib.metadata import PackageNotFoundError, version

        try:
            globals()[name] = version("oban-sqla")
        except PackageNotFoundError:
            globals()[name] = "unknown"
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
