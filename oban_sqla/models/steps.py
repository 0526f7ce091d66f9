"""What long jobs keep beside their rows: steps, sleeps and waits, and the signals that were sent to them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

from sqlalchemy import BigInteger, Identity, Integer, Table, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from ..types import UTCMapped
from .base import ObanBase, utc_column

_CLOCK = text("timezone('UTC'::text, clock_timestamp())")


class Step(ObanBase):
    """A step of a job that is done, or a sleep or a wait that has begun."""

    __tablename__ = "oban_steps"

    job_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(Text(collation="C"), primary_key=True)
    """The name that was given; of a sleep ``sleep:1`` or ``sleep:name``, of a wait ``wait:signal:1``."""
    kind: Mapped[str] = mapped_column(Text, server_default=text("'step'"))
    """``step``, ``sleep``, ``wait`` (for a signal that has not come), ``signal`` (that has) or ``timeout``."""
    value: Mapped[Any] = mapped_column(JSONB, nullable=True)
    """What the step has returned, or the payload of the signal."""
    until: UTCMapped[datetime | None] = utc_column()
    """The end of a sleep, the deadline of a wait."""
    at: UTCMapped[datetime] = utc_column(server_default=_CLOCK)
    """When the step was done; when a sleep or a wait began, and when a wait ended."""


class Signal(ObanBase):
    """A signal that was sent to a job."""

    __tablename__ = "oban_signals"
    __table_args__ = (UniqueConstraint("job_id", "name", "taken", name="oban_signals_taken_key"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    job_id: Mapped[int] = mapped_column(BigInteger)
    name: Mapped[str] = mapped_column(Text(collation="C"))
    payload: Mapped[Any] = mapped_column(JSONB, nullable=True)
    taken: Mapped[int | None] = mapped_column(Integer)
    """By which wait for this name, counted from 1; None while it waits to be taken."""
    at: UTCMapped[datetime] = utc_column(server_default=_CLOCK)


steps = cast(Table, Step.__table__)
signals = cast(Table, Signal.__table__)
