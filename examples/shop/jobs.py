"""What the shop does in the background."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import httpx
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload, selectinload

from oban_sqla import Backoff, Cancel, Snooze, Unique, enqueue_from, injected, job

from .mail import Mailer
from .models import Invoice, Order

WithLines = Annotated[Order, selectinload(Order.lines)]


@job(queue="invoices")
async def make_invoice(order: WithLines, session: AsyncSession = injected()) -> None:
    """Make the invoice, and enqueue its mail. The commit of the session completes the job as well, so an order gets one
    invoice, and an invoice one mail, however often this process dies meanwhile."""
    invoice = Invoice(order=order, total=sum(line.price for line in order.lines))
    session.add(invoice)
    session.add(mail_invoice.new(invoice))  # its number is known at the flush


@job(queue="mail", max_attempts=10)
async def mail_invoice(invoice: Annotated[Invoice, joinedload(Invoice.order)], mailer: Mailer = injected()) -> None:
    await mailer.send(invoice.order.email, f"Invoice {invoice.number}", f"Please pay {invoice.total} €.")


@job(queue="warehouse", backoff=Backoff("exponential", base=5), missing="discard")
async def tell_warehouse(order: WithLines, client: httpx.AsyncClient = injected()) -> Snooze | None:
    """The webhook of the warehouse. It is slow at times, and says so."""
    answer = await client.put(f"/orders/{order.id}", json={"articles": [line.article for line in order.lines]})
    if answer.status_code == 429:  # too many requests
        return Snooze(float(answer.headers.get("Retry-After", "60")), suspend="queue")
    answer.raise_for_status()  # anything else that goes wrong is tried again
    return None


@job(queue="mail")
async def remind(order: Order, mailer: Mailer = injected()) -> Cancel | None:
    if order.paid_at is not None:
        return Cancel("it was paid meanwhile")
    await mailer.send(order.email, f"Your order {order.id}", "We have not received your payment yet.")
    return None


@job(cron="0 3 * * *", unique=Unique(period=timedelta(hours=12)))
async def remind_unpaid(session: AsyncSession = injected()) -> int:
    """Every night, a reminder for each order that was not paid within two weeks. No order travels to this process."""
    unpaid = select(Order.id.label("order"), (func.now() + timedelta(hours=6)).label("scheduled_at"))
    overdue = unpaid.where(Order.paid_at.is_(None), Order.placed_at < datetime.now(UTC) - timedelta(days=14))
    return await enqueue_from(session, remind, overdue, unique=Unique(period=timedelta(days=7)), priority=5)
