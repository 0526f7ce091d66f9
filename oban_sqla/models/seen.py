"""Rows that only the dashboard reads: what ended in each minute, how much waited, and who changed what."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Identity, Integer, SmallInteger, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, REAL
from sqlalchemy.dialects.postgresql import UUID as PGUUID
from sqlalchemy.orm import Mapped, mapped_column

from ..types import UTCMapped
from .base import ObanBase, utc_column
from .job import NOW

_ZERO, _EMPTY = text("0"), text("'{}'")


class QueueMetrics(ObanBase):
    """What ended in a queue on a node within a step of time.

    A histogram is a pair of arrays: the numbers of its buckets, and how many jobs are in each. A duration of `ms`
    milliseconds is in the bucket ``floor(4 * log2(ms))``. Where more than 1,000 jobs of a queue end on a node within a
    minute, one in eight of the rest is timed, and counts for eight.
    """

    __tablename__ = "oban_metrics"

    step: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    """60, 600 or 3,600 seconds."""
    at: UTCMapped[datetime] = utc_column(primary_key=True)
    queue: Mapped[str] = mapped_column(Text, primary_key=True)
    origin: Mapped[UUID] = mapped_column(PGUUID(as_uuid=True), primary_key=True)
    """Of the node; another one after each start."""
    node: Mapped[str] = mapped_column(Text)
    completed: Mapped[int] = mapped_column(Integer, server_default=_ZERO)
    retryable: Mapped[int] = mapped_column(Integer, server_default=_ZERO)
    discarded: Mapped[int] = mapped_column(Integer, server_default=_ZERO)
    cancelled: Mapped[int] = mapped_column(Integer, server_default=_ZERO)
    snoozed: Mapped[int] = mapped_column(Integer, server_default=_ZERO)
    busy: Mapped[float] = mapped_column(REAL, server_default=_ZERO)
    """Seconds that jobs ran, of all that ended; estimated where not all were timed."""
    run_at: Mapped[list[int]] = mapped_column(ARRAY(SmallInteger), server_default=_EMPTY)
    run_n: Mapped[list[int]] = mapped_column(ARRAY(Integer), server_default=_EMPTY)
    wait_at: Mapped[list[int]] = mapped_column(ARRAY(SmallInteger), server_default=_EMPTY)
    wait_n: Mapped[list[int]] = mapped_column(ARRAY(Integer), server_default=_EMPTY)


class QueueDepth(ObanBase):
    """How many jobs of a queue were in each state at a time, as the leader saw it."""

    __tablename__ = "oban_depths"

    step: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    at: UTCMapped[datetime] = utc_column(primary_key=True)
    queue: Mapped[str] = mapped_column(Text, primary_key=True)
    available: Mapped[int] = mapped_column(Integer, server_default=_ZERO)
    scheduled: Mapped[int] = mapped_column(Integer, server_default=_ZERO)
    retryable: Mapped[int] = mapped_column(Integer, server_default=_ZERO)
    executing: Mapped[int] = mapped_column(Integer, server_default=_ZERO)
    oldest: Mapped[float | None] = mapped_column(REAL)
    """Seconds that the first available job has waited; None if there is none."""


class AuditEntry(ObanBase):
    """A change that a person has made, by the dashboard or the command line."""

    __tablename__ = "oban_audit"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: UTCMapped[datetime] = utc_column(server_default=NOW)
    who: Mapped[str] = mapped_column(Text)
    via: Mapped[str] = mapped_column(Text)
    """``web`` or ``cli``."""
    verb: Mapped[str] = mapped_column(Text)
    target: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=_EMPTY)
    jobs: Mapped[int | None] = mapped_column(Integer)
    """How many jobs were changed."""
    reason: Mapped[str | None] = mapped_column(Text)
