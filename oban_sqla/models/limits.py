"""Rows behind the limits of the cluster: by what a queue is partitioned, and what has started lately."""

from __future__ import annotations

from datetime import datetime
from typing import cast

from sqlalchemy import BigInteger, Double, Integer, Table, Text, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from ..types import UTCMapped
from .base import ObanBase, utc_column
from .job import NOW


class QueuePartition(ObanBase):
    """By what the jobs of a queue are partitioned, for all nodes and instances of a database."""

    __tablename__ = "oban_partitions"

    queue: Mapped[str] = mapped_column(Text, primary_key=True)
    by: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    """``worker``, ``args.…`` and ``meta.…``; empty for a queue that has no partitions any more."""
    epoch: Mapped[int] = mapped_column(Integer)
    """Grows with every change of `by`. A key of a job begins with the epoch in which it was made."""
    updated_at: UTCMapped[datetime] = utc_column(server_default=NOW)


class RateUsage(ObanBase):
    """What has started lately in a queue (with a blank key), or in one of its partitions. Times are seconds since 1970.

    A row that is missing means that nothing has.
    """

    __tablename__ = "oban_rates"

    queue: Mapped[str] = mapped_column(Text, primary_key=True)
    key: Mapped[str] = mapped_column(Text(collation="C"), primary_key=True)
    ts: Mapped[list[float]] = mapped_column(ARRAY(Double), server_default=text("'{}'"))
    """When jobs started. Starts within a fiftieth of the period share the time of the last one."""
    ns: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), server_default=text("'{0}'"))
    """What all starts up to each of these times have cost; in front of them, what those before the first had."""
    tat: Mapped[float] = mapped_column(Double, server_default=text("0"))
    """When a token bucket is full again."""
    until: Mapped[float] = mapped_column(Double, server_default=text("0"))
    """Nothing starts before this time."""
    idle_at: Mapped[float] = mapped_column(Double, server_default=text("0"))
    """When nothing in this row counts any more, apart from `until`."""


partitions = cast(Table, QueuePartition.__table__)
rates = cast(Table, RateUsage.__table__)
