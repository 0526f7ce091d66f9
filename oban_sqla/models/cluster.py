"""Rows about the cluster: its leaders, its producers, and the version of the schema."""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast
from uuid import UUID

from sqlalchemy import SmallInteger, Table, Text, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from ..types import UTCMapped
from .base import ObanBase, utc_column
from .job import NOW

# Both tables say who is alive now. They are UNLOGGED: cheap to write twelve times a minute, and empty after a crash.
_UNLOGGED = {"prefixes": ["UNLOGGED"]}


class Leader(ObanBase):
    """The leader of an instance: one row of ``oban_leaders``.

    :ivar name: the name of the instance.
    :ivar node: the name of the node that leads.
    :ivar elected_at: when it was elected.
    :ivar expires_at: when its lease ends unless it is renewed.
    """

    __tablename__ = "oban_leaders"
    __table_args__ = _UNLOGGED

    name: Mapped[str] = mapped_column(Text, primary_key=True, server_default=text("'oban'"))
    node: Mapped[str] = mapped_column(Text)
    elected_at: UTCMapped[datetime] = utc_column()
    expires_at: UTCMapped[datetime] = utc_column()


class Producer(ObanBase):
    """One queue on one node, from start to stop: one row of ``oban_producers``.

    :ivar uuid: the primary key, new at each start; the second element of ``Job.attempted_by``.
    :ivar name: the name of the instance.
    :ivar node: the name of the node.
    :ivar queue: the name of the queue.
    :ivar meta: a dict: whether it is paused, its limit, …
    :ivar started_at: when it was started.
    :ivar updated_at: its last heartbeat.
    """

    __tablename__ = "oban_producers"
    __table_args__ = _UNLOGGED

    uuid: Mapped[UUID] = mapped_column(postgresql.UUID(as_uuid=True), primary_key=True)
    name: Mapped[str] = mapped_column(Text, server_default=text("'oban'"))
    node: Mapped[str] = mapped_column(Text)
    queue: Mapped[str] = mapped_column(Text)
    meta: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    started_at: UTCMapped[datetime] = utc_column(server_default=NOW)
    updated_at: UTCMapped[datetime] = utc_column(server_default=NOW)


class SchemaVersion(ObanBase):
    """The one row that says which version of the schema these tables are."""

    __tablename__ = "oban_schema"

    version: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    migrated_at: UTCMapped[datetime] = utc_column(server_default=NOW)


leaders = cast(Table, Leader.__table__)
producers = cast(Table, Producer.__table__)
schema_versions = cast(Table, SchemaVersion.__table__)
