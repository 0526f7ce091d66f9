"""The examples do what they say."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncEngine

from examples.etl import run as count_orders
from examples.saga import run as order
from tests.processes import ROOT


async def test_the_etl_example_counts_the_orders_of_a_month(engine: AsyncEngine) -> None:
    assert await count_orders(engine) == f"2026-11: {sum(range(1, 29))} orders"


async def test_the_saga_takes_back_what_was_done_before_the_step_that_failed(engine: AsyncEngine) -> None:
    did = await order(engine)
    assert "shipped 1 for payment-1 from reservation-1" in did
    assert "released reservation-2" in did
    assert "released reservation-1" not in did
    assert "charged 2" not in did


def test_the_examples_are_short() -> None:
    for name in ("etl.py", "saga.py"):
        assert len((ROOT / "examples" / name).read_text().splitlines()) <= 80
