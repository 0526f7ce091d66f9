"""What happened to jobs of flows, batches and chains, until a releaser has acted on it."""

from __future__ import annotations

from typing import cast

from sqlalchemy import BigInteger, Identity, Index, Table, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from .base import ObanBase


class News(ObanBase):
    """One event of one concern. A trigger writes it; the functions of :mod:`oban_sqla.statements.releases` take it."""

    __tablename__ = "oban_news"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    job_id: Mapped[int | None] = mapped_column(BigInteger)
    workflow_id: Mapped[int | None] = mapped_column(BigInteger)
    batch_id: Mapped[int | None] = mapped_column(BigInteger)
    chain_key: Mapped[str | None] = mapped_column(Text(collation="C"))
    signal: Mapped[str | None] = mapped_column(Text(collation="C"))
    state: Mapped[str] = mapped_column(Text)
    """The new state of the job, ``deleted``, or a word of the concern's."""

    __table_args__ = (
        Index("oban_news_workflow_index", "workflow_id", "id", postgresql_where=text("workflow_id IS NOT NULL")),
        Index("oban_news_batch_index", "batch_id", "id", postgresql_where=text("batch_id IS NOT NULL")),
        Index("oban_news_chain_index", "chain_key", "id", postgresql_where=text("chain_key IS NOT NULL")),
        Index("oban_news_signal_index", "job_id", "id", postgresql_where=text("signal IS NOT NULL")),
    )


news = cast(Table, News.__table__)
