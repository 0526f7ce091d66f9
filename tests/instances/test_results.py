"""Instances that jobs return: their keys are recorded, and fit parameters of the class."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from oban_sqla import Job, Oban, Workflow, injected, job
from oban_sqla.testing import drain
from oban_sqla.workers.registry import workers
from tests.instances.conftest import Run
from tests.instances.models import SECRET, Base, Invoice, Order
from tests.support import eventually


@pytest.fixture(autouse=True)
def _forget_workers() -> Iterator[None]:
    before = set(workers)
    yield
    workers.remove(set(workers) - before)


def test_the_key_of_a_returned_instance_is_recorded_and_no_column(run: Run) -> None:
    @job(name="tests.instances.makes", recorded=True)
    def makes(order: Order, session: Session = injected()) -> tuple[Order, list[Invoice]]:
        session.add(invoice := Invoice())
        return order, [invoice]

    @job(name="tests.instances.makes_async", recorded=True)
    async def makes_async(order: Order, session: AsyncSession = injected()) -> tuple[Order, list[Invoice]]:
        session.add(invoice := Invoice())
        return order, [invoice]

    def scenario(session: Session) -> None:
        session.add(order := Order())
        own = makes_async if session.connection().dialect.is_async else makes
        session.add(own.new(order))
        assert drain(session) == {"completed": 1}
        [meta] = session.scalars(select(Job.meta))
        [invoice] = session.scalars(select(Invoice.id))
        assert meta["return"] == [order.id, [invoice]]
        assert SECRET not in str(session.execute(text("SELECT to_jsonb(j) FROM oban_jobs j")).all())

    run(scenario)


def test_an_instance_without_a_row_can_not_be_recorded(run_once: Run) -> None:
    @job(name="tests.instances.forgets", recorded=True, max_attempts=1)
    def forgets() -> Invoice:
        return Invoice()

    def scenario(session: Session) -> None:
        session.add(forgets.new())
        assert drain(session) == {"discarded": 1}
        [errors] = session.scalars(select(Job.errors))
        assert "the recorded value: Invoice has no key yet" in errors[0]["error"]
        assert SECRET not in str(errors)

    run_once(scenario)


async def test_a_result_that_is_an_instance_is_an_argument_of_the_next_job(engine: AsyncEngine) -> None:
    seen: list[tuple[int, int]] = []

    @job(name="tests.instances.bill", queue="flow", recorded=True)
    async def bill(order: Order, session: AsyncSession = injected()) -> Invoice:
        session.add(invoice := Invoice())
        return invoice

    @job(name="tests.instances.post", queue="flow")
    async def post(invoice: Invoice, order: Order) -> None:
        seen.append((invoice.id, order.id))

    @job(name="tests.instances.count", queue="flow")
    async def count() -> list[int]:
        return [100, 200]

    @job(name="tests.instances.pack", queue="flow")
    async def pack(order: Order, number: int) -> None:
        seen.append((order.id, number))

    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    try:
        async with Oban(engine, queues={"flow": 1}) as oban:
            async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
                order = Order()
                flow = Workflow("billing")
                made = flow.add(bill.new(order))
                flow.add(post.new(made.result, order))
                numbered = Workflow("packing")
                numbers = numbered.add(count.new())
                numbered.map(lambda number: pack.new(order, number), over=numbers.result)
                session.add_all([order, flow, numbered])
            await eventually(lambda: len(seen) == 3)
            assert made.spec is not None
            loaded = await oban.result(made.spec)
            assert (type(loaded), loaded.card) == (Invoice, SECRET)
            async with AsyncSession(engine) as session:
                invoice = await session.scalar(select(Invoice.id))
        assert sorted(seen) == sorted([(invoice, order.id), (order.id, 100), (order.id, 200)])
    finally:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.drop_all)
