"""What the runtime's tests share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, any_, literal, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from oban_sqla import Job, JobSpec, JobState, Oban, enqueue
from oban_sqla.runtime.row import Row, row_of
from oban_sqla.statements.fetch import FETCHED
from tests.support import eventually


async def insert(engine: AsyncEngine, *specs: JobSpec) -> list[int]:
    """Commit these jobs; their ids."""
    async with AsyncSession(engine) as session, session.begin():
        written = await enqueue(session, list(specs))
        return [spec.id for spec in written if spec.id is not None]


async def load(engine: AsyncEngine, job_id: int) -> Job:
    """The job as it is now."""
    async with AsyncSession(engine) as session:
        return (await session.execute(select(Job).where(Job.id == job_id))).scalar_one()


def wake(oban: Oban, *queues: str) -> None:
    """Let the node look for jobs of these queues now, as a commit of its process does."""
    assert oban._node is not None
    oban._node.inserted(queues)


async def until(engine: AsyncEngine, job_id: int, state: str | Callable[[Job], Any], timeout: float = 10.0) -> Job:
    """Wait for the job to be in a state (or for a condition on it), and return it."""

    async def reached() -> Job:
        job = await load(engine, job_id)
        if callable(state):
            assert state(job), f"{job!r}, errors {job.errors}, meta {job.meta}"
        else:
            assert job.state == state, f"{job!r} is not {state}; errors {job.errors}"
        return job

    return await eventually(reached, timeout)


async def finished(engine: AsyncEngine, ids: list[int], timeout: float = 20.0) -> list[Job]:
    """Wait for the jobs to be completed."""

    among = Job.id == any_(literal(ids, ARRAY(BigInteger)))

    async def done() -> list[Job]:
        async with AsyncSession(engine) as session:
            left = (await session.scalars(select(Job).where(among, Job.state != JobState.COMPLETED).limit(5))).all()
            assert not left, left
            return list(await session.scalars(select(Job).where(among).order_by(Job.id)))

    return await eventually(done, timeout)


async def execute(engine: AsyncEngine, sql: str, **parameters: Any) -> list[Any]:
    """One statement in a transaction of its own; its rows, none for one that returns no rows."""
    async with engine.begin() as connection:
        result = await connection.execute(text(sql), parameters)
        return [*result] if result.returns_rows else []


async def execute_outside(engine: AsyncEngine, sql: str) -> None:
    """One statement that no transaction can run."""
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text(sql))


def fetched(worker: str, args: str = "{}", *, producer: str = "producer", **values: Any) -> Row:
    """A row as a fetch returns it, in a first attempt that was due a second ago, without a database."""
    at = datetime(2025, 1, 1, 12, 0, 1)
    plain: dict[str, Any] = {
        "id": 7, "worker": worker, "attempt": 1, "max_attempts": 20, "priority": 0,
        "args": args, "meta": "{}", "errors": "[]", "tags": [],
        "inserted_at": at - timedelta(seconds=1), "scheduled_at": at - timedelta(seconds=1), "attempted_at": at,
    }  # fmt: skip
    return row_of(*((plain | values).get(name) for name in FETCHED), "default", ["here", producer])
