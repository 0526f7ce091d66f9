"""The edges of workflows: which job waits for what."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import BigInteger, Index, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from .base import ObanBase


class Dependency(ObanBase):
    """One job waits for another job, or for a flow."""

    __tablename__ = "oban_deps"

    dep_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """A job; where it is negative, the flow ``-dep_id``."""
    job_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    on_fail: Mapped[str] = mapped_column(Text(collation="C"), server_default=text("'c'"))
    """What a failure of the dependency means: ``c`` cancels, ``i`` is ignored, ``w`` waits."""
    met: Mapped[str] = mapped_column(Text(collation="C"), server_default=text("'o'"))
    """``o``: it is waited for; ``d``: done; ``f``: failed."""
    refs: Mapped[Any | None] = mapped_column(JSONB)
    """Pairs of a path in the args of the job and a path in the result of the dependency."""

    __table_args__ = (Index("oban_deps_job_index", "job_id", "met"),)


deps = cast(Table, Dependency.__table__)
