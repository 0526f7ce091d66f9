"""What a customer of the shop gets."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx
import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from oban_sqla import Cancel, Snooze
from oban_sqla.testing import all_enqueued, assert_enqueued, drain, mode, perform, refute_enqueued

from ..jobs import mail_invoice, make_invoice, remind, remind_unpaid, tell_warehouse
from ..models import Invoice, Line, Order
from ..orders import in_trouble, pay, place_order
from .conftest import Outside

ARTICLES = {"teapot": Decimal("30.00"), "tea": Decimal("12.50")}


async def test_an_order_is_invoiced_once_and_the_invoice_is_mailed(session: AsyncSession, outside: Outside) -> None:
    order = await place_order(session, "ann@example.com", ARTICLES)
    assert await drain(session, queue=["invoices", "mail"]) == {"completed": 2}
    [invoice] = await session.scalars(select(Invoice))
    assert (invoice.order_id, invoice.total) == (order.id, Decimal("42.50"))
    assert outside.mails == [("ann@example.com", f"Invoice {invoice.number}")]


async def test_the_warehouse_is_told_what_was_ordered(session: AsyncSession, outside: Outside) -> None:
    async with mode("inline"):
        order = await place_order(session, "ann@example.com", ARTICLES)
    [request] = outside.requests
    assert (request.method, request.url.path) == ("PUT", f"/orders/{order.id}")
    assert json.loads(request.content) == {"articles": ["teapot", "tea"]}


async def test_an_order_that_is_refused_leaves_no_job(session: AsyncSession) -> None:
    with pytest.raises(ValueError, match="needs articles"):
        await place_order(session, "ann@example.com", {})
    await session.rollback()
    await refute_enqueued(session, worker=make_invoice)


async def test_a_busy_warehouse_is_asked_later(outside: Outside) -> None:
    outside.answer = httpx.Response(429, headers={"Retry-After": "30"})
    order = Order(id=7, lines=[Line(article="tea")])  # no database is needed
    outcome = await perform(tell_warehouse.new(order))
    assert isinstance(outcome, Snooze)
    assert (outcome.seconds, outcome.suspend) == (30, "queue")


async def test_a_warehouse_that_fails_is_tried_again(session: AsyncSession, outside: Outside) -> None:
    outside.answer = httpx.Response(500)
    await place_order(session, "ann@example.com", ARTICLES)
    assert await drain(session, queue="warehouse") == {"retryable": 1}


async def test_an_order_that_was_deleted_is_not_told(session: AsyncSession, outside: Outside) -> None:
    order = await place_order(session, "ann@example.com", ARTICLES)
    await session.refresh(order, ["lines"])
    await session.delete(order)
    assert await drain(session, queue="warehouse") == {"discarded": 1}
    assert outside.requests == []


async def test_unpaid_orders_are_reminded_once_a_week(session: AsyncSession, outside: Outside) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=20)
    unpaid, paid = (Order(email=f"{name}@example.com", placed_at=long_ago) for name in ("ann", "bob"))
    pay(paid)
    session.add_all([unpaid, paid, Order(email="new@example.com")])

    assert await perform(remind_unpaid.new(), session=session) == 1
    assert await perform(remind_unpaid.new(), session=session) == 0
    [job] = await assert_enqueued(session, worker=remind, args={"order": unpaid.id}, count=1)
    assert job.scheduled_at > datetime.now(UTC)
    assert await drain(session, with_scheduled=True) == {"completed": 1}
    assert outside.mails == [("ann@example.com", f"Your order {unpaid.id}")]


async def test_an_order_that_was_paid_meanwhile_is_not_reminded(outside: Outside) -> None:
    order = Order(id=7, email="ann@example.com")
    pay(order)
    assert isinstance(await perform(remind.new(order)), Cancel)
    assert outside.mails == []


async def test_orders_in_trouble_are_listed_with_their_jobs(session: AsyncSession, outside: Outside) -> None:
    troubled = await place_order(session, "ann@example.com", ARTICLES)
    await place_order(session, "bob@example.com", ARTICLES)
    for job in await all_enqueued(session, worker=tell_warehouse, args={"order": troubled.id}):
        job.max_attempts = 1
    outside.answer = httpx.Response(500)
    await drain(session)
    [found] = await in_trouble(session)
    assert found.id == troubled.id
    assert [job.worker.rpartition(".")[2] for job in found.jobs] == ["make_invoice", "tell_warehouse"]
    await refute_enqueued(session, worker=mail_invoice)
