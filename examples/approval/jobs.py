"""A purchase from its order to its payment, as one job that may take days."""

from datetime import timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from oban_sqla import SignalTimeout, job
from oban_sqla.durable import step, wait_for

from .models import Payment, Purchase

sent: list[str] = []
"""The mails, instead of a mail server."""


@job(queue="purchases")
async def buy(purchase_id: int, hours: float = 48) -> None:
    """Ask for approval, wait for the answer without a slot, and pay or not."""
    await step("ask", ask, purchase_id)
    try:
        answer: dict[str, Any] = await wait_for("answer", timeout=timedelta(hours=hours), live=0)
    except SignalTimeout:
        answer = {"approved": False, "by": "the deadline"}
    if answer["approved"]:
        await step("pay", pay, purchase_id, answer["by"])
    else:
        await step("refuse", refuse, purchase_id, answer["by"])


async def ask(purchase_id: int) -> None:
    """Send a mail. It may be sent twice, if the process dies before the step is marked."""
    sent.append(f"please approve purchase {purchase_id}")


async def pay(session: AsyncSession, purchase_id: int, by: str) -> int:
    """Pay. The payment and the mark of the step are one commit, so it happens exactly once."""
    purchase = await session.get_one(Purchase, purchase_id)
    purchase.state = f"approved by {by}"
    payment = Payment(purchase_id=purchase_id, euros=purchase.euros, approved_by=by)
    session.add(payment)
    await session.flush()
    return payment.id


async def refuse(session: AsyncSession, purchase_id: int, by: str) -> None:
    """Say no."""
    purchase = await session.get_one(Purchase, purchase_id)
    purchase.state = f"refused by {by}"
