"""A plain function that takes steps in several threads at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from threading import Barrier

from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import Oban, job
from oban_sqla.durable.sync import step

WIDE = 8


@job(name="durable.wide", queue="durable_wide", recorded=True, max_attempts=1)
def wide() -> list[int]:
    """All begin at the same moment, and none has looked what is there."""
    together = Barrier(WIDE)

    def part(number: int) -> int:
        together.wait(10)
        return step(f"part {number}", int, number)

    with ThreadPoolExecutor(WIDE) as pool:
        parts = [pool.submit(copy_context().run, part, number) for number in range(WIDE)]
        return [one.result() for one in parts]


async def test_steps_that_threads_of_a_job_take_at_once_are_each_kept(engine: AsyncEngine) -> None:
    async with Oban(engine, queues={"durable_wide": 1}) as oban:
        [spec] = await oban.enqueue(wide.new())
        assert await oban.result(spec, 20) == list(range(WIDE))
