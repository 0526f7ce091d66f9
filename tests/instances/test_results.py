"""Instances that jobs return: their keys are recorded, and fit parameters of the class."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from oban_sqla import Job, Oban, Record, Workflow, injected, job
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

    @job(name="tests.instances.records")
    async def records(order: Order) -> Record:
        return Record({"order": order})

    def scenario(session: Session) -> None:
        session.add(order := Order())
        own = makes_async if session.connection().dialect.is_async else makes
        session.add_all([own.new(order), records.new(order)])
        assert drain(session) == {"completed": 2}
        first, second = session.scalars(select(Job.meta).order_by(Job.id))
        [invoice] = session.scalars(select(Invoice.id))
        assert first["return"] == [order.id, [invoice]]
        assert second["return"] == {"order": order.id}
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
        assert "the recorded value: this Invoice has no row; add it to the job's session" in errors[0]["error"]
        assert SECRET not in str(errors)

    run_once(scenario)


async def test_a_result_that_is_an_instance_is_an_argument_of_the_next_job(engine: AsyncEngine) -> None:
    seen: list[tuple[int, int]] = []

    @job(name="tests.instances.bill", queue="flow")
    async def bill(order: Order, session: AsyncSession = injected()) -> Invoice:
        session.add(invoice := Invoice())
        return invoice

    @job(name="tests.instances.post", queue="flow")
    async def post(invoice: Invoice, order: Order) -> None:
        seen.append((invoice.id, order.id))

    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    try:
        async with Oban(engine, queues={"flow": 1}):
            async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
                order = Order()
                flow = Workflow("billing")
                invoice = flow.add(bill.new(order))
                flow.add(post.new(invoice.result, order))
                session.add_all([order, flow])
            await eventually(lambda: bool(seen))
            async with AsyncSession(engine) as session:
                assert seen == [(await session.scalar(select(Invoice.id)), order.id)]
    finally:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.drop_all)
