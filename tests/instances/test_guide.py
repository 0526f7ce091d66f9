"""The snippets of docs/models-as-arguments.md run as they are."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import pytest
from sqlalchemy import ForeignKey, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, selectinload

from oban_sqla import Job, JobSpec, injected, job
from oban_sqla.testing import drain, perform
from oban_sqla.workers.registry import workers
from tests.processes import ROOT

PAGE = (ROOT / "docs/models-as-arguments.md").read_text()
FIRST, SESSION, LISTS, MISSING, TESTS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "guide_orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]
    closed: Mapped[bool] = mapped_column(default=False)
    lines: Mapped[list[Line]] = relationship()


class Line(Base):
    __tablename__ = "guide_lines"

    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("guide_orders.id"))
    price: Mapped[int]


class Customer(Base):
    __tablename__ = "guide_customers"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


@pytest.fixture
async def sessions(engine: AsyncEngine) -> AsyncIterator[async_sessionmaker[AsyncSession]]:
    """Sessions in a transaction that is undone."""
    async with engine.connect() as connection, connection.begin() as outer:
        await connection.run_sync(Base.metadata.create_all)
        yield async_sessionmaker(connection, join_transaction_mode="create_savepoint")
        await outer.rollback()


@pytest.fixture
def names(sessions: async_sessionmaker[AsyncSession]) -> Iterator[dict[str, Any]]:
    """What the page takes for granted."""
    before = set(workers)
    outbox: list[Any] = []

    async def mail(to: str, total: int) -> None:
        outbox.append((to, total))

    yield {
        "__name__": "guide", "Annotated": Annotated, "AsyncSession": AsyncSession, "Customer": Customer, "Line": Line,
        "Order": Order, "injected": injected, "job": job, "mail": mail, "outbox": outbox, "perform": perform,
        "selectinload": selectinload, "sessions": sessions,
    }  # fmt: skip
    workers.remove(set(workers) - before)


async def run(snippet: str, names: dict[str, Any]) -> None:
    """Run what stands on the page, of which a part is awaited."""
    definitions, _, script = snippet.partition("\n\n\n")
    exec(definitions, names)
    body = "\n".join(f"    {line}" for line in script.splitlines())
    exec(f"async def script():\n    pass\n{body}", names)
    await names["script"]()


async def test_the_snippets_run(names: dict[str, Any], sessions: async_sessionmaker[AsyncSession]) -> None:
    for snippet in (FIRST, SESSION, LISTS, MISSING):
        await run(snippet, names)
    async with sessions() as session, session.begin():
        assert await drain(session) == {"completed": 1}
        assert names["outbox"] == [("ann@example.com", 42)]
        [order] = await session.scalars(select(Order))
        session.add_all([names["close_order"].new(order), names["print_labels"].new([order])])
        session.add(JobSpec(names["confirm"], {"order": 99}))
        assert await drain(session) == {"completed": 2, "retryable": 1}
        assert order.closed
        first = await session.scalar(select(Job.args).order_by(Job.id).limit(1))
        assert first == {"order": order.id}


async def test_the_test_of_the_page_passes(names: dict[str, Any]) -> None:
    await run(FIRST.partition("\n\n\n")[0], names)
    exec(TESTS, names)
    await names["test_the_invoice_is_sent"]()
