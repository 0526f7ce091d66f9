"""The mapped classes, and the spec that becomes a row. One MetaData holds them all.

Belongs here: tables, columns and indexes as Python sees them, and what users query or add to a session. Does not: SQL
that the package itself executes (see `statements`), and what creates the tables (see `migrations`).
"""

from . import (
    not_a_row,  # noqa: F401  # pyright: ignore[reportUnusedImport]  # it listens to mappers and engines
    notes,  # noqa: F401  # pyright: ignore[reportUnusedImport]  # it listens to engines
)
from .base import ObanBase, metadata, use_schema
from .batch import Batch
from .cluster import Leader, Producer, SchemaVersion
from .cron import CronEntry
from .dependency import Dependency
from .events import JobEvent
from .job import Job
from .limits import QueuePartition, RateUsage
from .news import News
from .progress import JobProgress
from .queue import QueueSettings
from .seen import AuditEntry, QueueDepth, QueueMetrics
from .spec import JobSpec
from .steps import Signal, Step
from .workflow import Workflow

__all__ = [
    "AuditEntry",
    "Batch",
    "CronEntry",
    "Dependency",
    "Job",
    "JobEvent",
    "JobProgress",
    "JobSpec",
    "Leader",
    "News",
    "ObanBase",
    "Producer",
    "QueueDepth",
    "QueueMetrics",
    "QueuePartition",
    "QueueSettings",
    "RateUsage",
    "SchemaVersion",
    "Signal",
    "Step",
    "Workflow",
    "metadata",
    "use_schema",
]
