"""What operators asked of a queue while it ran: one row for all nodes, and one for each node that differs."""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

from sqlalchemy import Boolean, Integer, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from ..types import UTCMapped
from .base import ObanBase, utc_column
from .job import NOW

EVERY_NODE = ""
"""The value of the column ``node`` in a row that is for all nodes."""


class QueueSettings(ObanBase):
    """How a queue differs from what its nodes were configured with. What is null stays as it was configured.

    Written by :meth:`Oban.pause_queue` and its siblings, read by every node at its start and ever after. A row of a
    node overrides the row of all nodes, column by column.
    """

    __tablename__ = "oban_queues"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    """The instance."""
    queue: Mapped[str] = mapped_column(Text, primary_key=True)
    node: Mapped[str] = mapped_column(Text, primary_key=True, server_default=text("''"))
    """Blank for all nodes."""
    started: Mapped[bool | None] = mapped_column(Boolean)
    """True: runs also where it is not configured; false: was stopped."""
    paused: Mapped[bool | None] = mapped_column(Boolean)
    local_limit: Mapped[int | None] = mapped_column(Integer)
    limits: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """Limits of the whole cluster, in the row of all nodes: ``global_limit``, ``rate_limit`` and ``partition``. What is
    missing stays as it was configured; what is null was lifted."""
    updated_at: UTCMapped[datetime] = utc_column(server_default=NOW)


queue_settings = cast(Table, QueueSettings.__table__)
