"""The crontab: one row an entry."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from ..options.schedule import schedule
from ..types import UTCMapped
from .base import ObanBase, utc_column
from .job import NOW


class CronEntry(ObanBase):
    """A job that becomes due again and again. Change it through :attr:`Oban.crons`."""

    __tablename__ = "oban_crons"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    expression: Mapped[str] = mapped_column(Text)
    timezone: Mapped[str] = mapped_column(Text, server_default=text("'UTC'"))
    spec: Mapped[dict[str, Any]] = mapped_column(JSONB)
    """The job: its worker, args and options; each tick makes a copy."""
    paused: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    catch_up: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    last_tick: UTCMapped[datetime | None] = utc_column()
    """The planned time of the last job it made. Only a later one can be made."""
    since: UTCMapped[datetime] = utc_column(server_default=NOW)
    """When it was written, changed or resumed: no tick before that is due."""
    declared_at: UTCMapped[datetime | None] = utc_column()
    """When a node last said that its code has this entry; null for one that was put at run time."""

    def next(self, after: datetime) -> datetime | None:
        """When it is due for the first time after the aware datetime `after`; None for ``@reboot``."""
        return schedule(self.expression, self.timezone).next(after)

    def __repr__(self) -> str:
        return f"<CronEntry {self.name!r} {self.expression!r} {self.timezone}{' paused' if self.paused else ''}>"
