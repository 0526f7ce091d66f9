"""What runs in the background."""

import asyncio
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncSession

from oban_sqla import Backoff, Job, job

from .models import User


@job(queue="mail")
async def send_welcome(session: AsyncSession, user_id: int) -> None:
    """Welcome a user. The session's commit also completes the job, so no user is marked twice, or not at all."""
    user = await session.get_one(User, user_id)
    user.welcomed_at = datetime.now(UTC)


@job(queue="mail", max_attempts=5, backoff=Backoff("exponential", base=0.2))
async def tell_crm(job: Job, email: str) -> None:
    """Tell a partner who does not answer at first. What was raised is kept in the job's errors."""
    if job.attempt < 3:
        raise ConnectionError("the CRM does not answer")


@job(queue="exports")
async def export_users(seconds: float) -> None:
    """Something that takes its time."""
    await asyncio.sleep(seconds)
