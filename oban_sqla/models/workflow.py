"""A workflow: jobs that wait for each other."""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

from sqlalchemy import BigInteger, Boolean, Identity, Index, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from ..types import UTCMapped
from .base import ObanBase, utc_column
from .job import NOW


class Workflow(ObanBase):
    """A flow: jobs that wait for each other."""

    __tablename__ = "oban_workflows"

    _id: Mapped[int] = mapped_column("id", BigInteger, Identity(always=True), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    node_name: Mapped[str | None] = mapped_column(Text)
    uniq_key: Mapped[str | None] = mapped_column(Text(collation="C"))
    parent_id: Mapped[int | None] = mapped_column(BigInteger)
    root_id: Mapped[int | None] = mapped_column(BigInteger)
    graft_of: Mapped[int | None] = mapped_column(BigInteger)
    returns_name: Mapped[str | None] = mapped_column("returns", Text)
    is_map: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    meta: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    state: Mapped[str] = mapped_column(Text, server_default=text("'executing'"))
    inserted_at: UTCMapped[datetime] = utc_column(server_default=NOW)
    finished_at: UTCMapped[datetime | None] = utc_column()

    __table_args__ = (
        Index("oban_workflows_unique_index", "uniq_key", unique=True, postgresql_where=text("uniq_key IS NOT NULL")),
        Index("oban_workflows_parent_index", "parent_id", postgresql_where=text("parent_id IS NOT NULL")),
        Index(
            "oban_workflows_open_index",
            "parent_id",
            postgresql_where=text("parent_id IS NOT NULL AND finished_at IS NULL"),
        ),
        Index("oban_workflows_root_index", "root_id", postgresql_where=text("root_id IS NOT NULL")),
        Index("oban_workflows_graft_index", "graft_of", postgresql_where=text("graft_of IS NOT NULL")),
        Index("oban_workflows_state_index", "state", "id", postgresql_where=text("state <> 'completed'")),
        Index(
            "oban_workflows_finished_index",
            "finished_at",
            postgresql_where=text("root_id IS NULL AND finished_at IS NOT NULL"),
        ),
    )


workflows = cast(Table, Workflow.__table__)
