"""The mapped classes. One MetaData holds them all."""

from .base import ObanBase, metadata, use_schema
from .cluster import Leader, Producer, SchemaVersion
from .cron import CronEntry
from .job import Job
from .queue import QueueSettings
from .spec import JobSpec

__all__ = [
    "CronEntry",
    "Job",
    "JobSpec",
    "Leader",
    "ObanBase",
    "Producer",
    "QueueSettings",
    "SchemaVersion",
    "metadata",
    "use_schema",
]
