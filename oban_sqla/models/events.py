"""What a job tells while it runs, in order: the events that it emits, and the lines of its log."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any, cast

from sqlalchemy import BigInteger, SmallInteger, Table, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from ..types import UTCMapped
from .base import NOW, ObanBase, utc_column


class EventKind(enum.IntEnum):
    """What a row of ``oban_events`` is; each kind is numbered by itself."""

    EVENT = 0
    LOG = 1


class JobEvent(ObanBase):
    """One event of a job, or one line of its log. Read them with :meth:`Oban.stream` and :meth:`Oban.logs`."""

    __tablename__ = "oban_events"

    job_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    kind: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False, server_default=text("0"))
    """An :class:`EventKind`."""
    n: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """From 1 on, without gaps for events. Of a log the oldest lines are deleted, so it may begin later."""
    at: UTCMapped[datetime] = utc_column(server_default=NOW)
    value: Mapped[Any] = mapped_column(JSONB)


events = cast(Table, JobEvent.__table__)
