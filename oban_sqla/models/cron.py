"""The crontab: one row per entry."""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

from sqlalchemy import Boolean, Table, Text, inspect, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from ..options.schedule import schedule
from ..types import UTCMapped
from .base import ObanBase, utc_column
from .job import NOW


class CronEntry(ObanBase):
    """An entry of the crontab: one row of ``oban_crons``. Change it through :attr:`Oban.crons`.

    :ivar name: the primary key.
    :ivar expression: when it is due.
    :ivar timezone: the time zone of the expression, an IANA name.
    :ivar spec: the job as a dict: its worker, args and options. Each tick enqueues a copy.
    :ivar paused: whether it is paused.
    :ivar catch_up: whether the last missed tick is run late.
    :ivar last_tick: the planned time of the last tick; None before the first. Only a later one can be run.
    :ivar since: when it was written, changed or resumed; no tick before that is due.
    :ivar declared_at: when a node last confirmed that its code has this entry; None for one that was put at run time.
    """

    __tablename__ = "oban_crons"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    expression: Mapped[str] = mapped_column(Text)
    timezone: Mapped[str] = mapped_column(Text, server_default=text("'UTC'"))
    spec: Mapped[dict[str, Any]] = mapped_column(JSONB)
    paused: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    catch_up: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    last_tick: UTCMapped[datetime | None] = utc_column()
    since: UTCMapped[datetime] = utc_column(server_default=NOW)
    declared_at: UTCMapped[datetime | None] = utc_column()

    def next(self, after: datetime) -> datetime | None:
        """When the entry is due next.

        :param after: an aware datetime.
        :returns: the first time after it, in UTC; None for ``@reboot``.
        """
        return schedule(self.expression, self.timezone).next(after)

    def __repr__(self) -> str:
        loaded = vars(self)  # nothing is read for it
        told = [f" {loaded[name]}" for name in ("expression", "timezone") if name in loaded]
        identity = inspect(self).identity
        name = loaded.get("name") if identity is None else identity[0]
        return f"<CronEntry {name!r}{''.join(told)}{' paused' if loaded.get('paused') else ''}>"


crons = cast(Table, CronEntry.__table__)
