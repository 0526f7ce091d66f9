"""What the shop's pages call. Each function belongs to the transaction of its caller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from oban_sqla import Job

from .jobs import make_invoice, tell_warehouse
from .models import Line, Order


async def place_order(session: AsyncSession, email: str, articles: Mapping[str, Decimal]) -> Order:
    """A new order, and the jobs that follow from it: all of it is committed, or nothing."""
    if not articles:
        raise ValueError("an order needs articles")
    order = Order(email=email, lines=[Line(article=name, price=price) for name, price in articles.items()])
    session.add_all([order, make_invoice.new(order), tell_warehouse.new(order)])
    await session.flush()
    return order


def pay(order: Order) -> None:
    order.paid_at = datetime.now(UTC)


async def in_trouble(session: AsyncSession) -> Sequence[Order]:
    """The orders with a job that has failed for good, with all of their jobs."""
    failed = Order.jobs.any(Job.state.in_(["discarded", "cancelled"]))
    return (await session.scalars(select(Order).where(failed).options(selectinload(Order.jobs)))).all()
