"""What the triggers of the jobs table cost a plain job."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

# Its numbers are those of objects, which have more digits the more a server has had of them.
CONDITIONS = """
SELECT sum(length(regexp_replace(tgqual::text, '[0-9]+', '0', 'g')))
  FROM pg_trigger JOIN pg_attribute a ON a.attrelid = tgrelid AND attnum = ANY (tgattr)
 WHERE tgrelid = 'oban_jobs'::regclass AND attname = 'state'"""
CALLS = "SELECT funcname FROM pg_stat_xact_user_functions WHERE calls > 0"
CHANGES = (
    "UPDATE oban_jobs SET state = 'executing', attempt = 1 WHERE worker = '{}'",
    "UPDATE oban_jobs SET state = 'completed', completed_at = timezone('UTC', now()) WHERE worker = '{}'",
)

WAITING = """
INSERT INTO oban_jobs (worker, state, workflow_id, remaining)
VALUES ('waits', 'suspended', 1, NULL), ('uses', 'suspended', 1, 1)"""


async def functions_of(connection: AsyncConnection, worker: str) -> list[str]:
    """The functions that are called while the jobs of `worker` are fetched and acknowledged."""
    await connection.execute(text("SET LOCAL track_functions = 'pl'"))
    for change in CHANGES:
        await connection.execute(text(change.format(worker)))
    return list(await connection.scalars(text(CALLS)))


async def test_a_plain_job_is_fetched_and_acknowledged_without_a_call_of_a_trigger(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("INSERT INTO oban_jobs (worker) VALUES ('plain')"))
        assert await functions_of(connection, "plain") == []
        await connection.execute(text("INSERT INTO oban_jobs (worker, batch_id) VALUES ('batched', 1)"))
        assert await functions_of(connection, "batched") == ["oban_tell_state"]
        await connection.rollback()


async def test_a_job_of_a_workflow_is_released_without_a_call_of_a_trigger(engine: AsyncEngine) -> None:
    """A fan-out releases thousands of jobs by one statement."""
    async with engine.begin() as connection:
        await connection.execute(text(WAITING))
        await connection.execute(text("SET LOCAL track_functions = 'pl'"))
        await connection.execute(text("UPDATE oban_jobs SET state = 'available' WHERE worker = 'waits'"))
        assert list(await connection.scalars(text(CALLS))) == []
        await connection.execute(text("UPDATE oban_jobs SET state = 'available' WHERE worker = 'uses'"))
        assert list(await connection.scalars(text(CALLS))) == ["oban_let_go"]
        await connection.rollback()


async def test_the_conditions_that_each_statement_reads_are_short(engine: AsyncEngine) -> None:
    """PostgreSQL parses them anew at each statement that changes a state: 20,000 characters take 0.1 ms."""
    async with engine.connect() as connection:
        length = await connection.scalar(text(CONDITIONS))
    assert length is not None
    assert length < 4_500
