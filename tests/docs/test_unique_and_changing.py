"""The pages about unique jobs and about changing workers run as they stand there."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from oban_sqla import Job
from oban_sqla.testing import drain
from tests.docs import test_snippets
from tests.docs.test_snippets import run

module = test_snippets.module  # the fixture


async def test_unique_jobs(engine: AsyncEngine, module: dict[str, Any]) -> None:
    async with AsyncSession(engine, expire_on_commit=False) as session:
        await run("unique-jobs.md", module | {"session": session})
        jobs = (await session.scalars(select(Job).order_by(Job.id))).all()
    assert [job.args.get("text") for job in jobs] == [None, "second", None]
    assert [str(job.state) for job in jobs] == ["available", "available", "scheduled"]


async def test_changing_workers(engine: AsyncEngine, module: dict[str, Any]) -> None:
    async with AsyncSession(engine) as session:
        await run("changing-workers.md", module | {"session": session})
        assert await drain(session) == {"completed": 1}
