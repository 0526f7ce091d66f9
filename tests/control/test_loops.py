"""An Oban whose engine is used on several event loops, as a program does that calls ``asyncio.run`` again and again."""

from __future__ import annotations

import asyncio

from sqlalchemy.ext.asyncio import create_async_engine

from oban_sqla import JobSpec, Oban


def test_an_oban_that_is_not_started_works_on_two_loops_at_once_and_one_after_the_other(
    database_url: str, clean_tables: None
) -> None:
    oban = Oban(create_async_engine(database_url))

    async def use() -> tuple[int, str | None]:
        [spec] = await oban.enqueue(JobSpec("work"))
        return await oban.cancel(spec), (await oban.why(spec)).state

    async def use_on_another_loop_meanwhile() -> list[tuple[int, str | None]]:
        found = [await use(), await asyncio.to_thread(asyncio.run, use()), await use()]
        await oban.engine.dispose()
        return found

    assert asyncio.run(use_on_another_loop_meanwhile()) == [(1, "cancelled")] * 3
    assert asyncio.run(use()) == (1, "cancelled")
