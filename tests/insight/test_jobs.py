"""Jobs as a dashboard asks for them, without a command line."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from oban_sqla import InvalidOption, JobSpec
from oban_sqla.insight.jobs import Filter, by_id, count_by_state, details, page
from oban_sqla.insight.watch import Watch, unfinished
from tests.runtime.helpers import execute, insert


def test_a_state_that_jobs_do_not_have_is_refused() -> None:
    with pytest.raises(InvalidOption, match=r"one of available, .*; got \"done' OR true\""):
        Filter(states=("available", "done' OR true"))


async def test_jobs_are_listed_counted_and_shown_on_one_session(any_engine: AsyncEngine) -> None:
    first, second, third = await insert(any_engine, *(JobSpec("w", {"n": n}, queue="media") for n in range(3)))
    await execute(any_engine, f"UPDATE oban_jobs SET state = 'discarded' WHERE id = {third}")
    media = Filter(queue="media")
    async with AsyncSession(any_engine) as session:
        assert [job["id"] for job in await page(session, media, 2)] == [third, second]
        assert [job["id"] for job in await page(session, media, 2, before=second)] == [first]
        assert set(await by_id(session, [first, third, third + 1])) == {first, third}
        assert await count_by_state(session, *media.conditions) == {"available": 2, "discarded": 1}
        assert await unfinished(session, media, 10) == [first, second]
        job = await details(session, third)
        assert job is not None
        assert (job["args"], job["state"], job["cancel_at"]) == ({"n": 2}, "discarded", None)
        assert await details(session, third + 1) is None


async def test_a_watch_gives_each_change_once(engine: AsyncEngine) -> None:
    [one, two] = await insert(engine, JobSpec("w"), JobSpec("w"))
    watch = Watch([one, two])

    async def look() -> list[Any]:
        async with AsyncSession(engine) as session:
            steps = await watch.look(session)
        return [(step.now["id"], step.before and step.before["state"], step.now["state"]) for step in steps]

    assert await look() == [(one, None, "available"), (two, None, "available")]
    assert await look() == []
    await execute(engine, f"UPDATE oban_jobs SET state = 'completed' WHERE id = {one}")
    await execute(engine, f"DELETE FROM oban_jobs WHERE id = {two}")
    assert await look() == [(one, "available", "completed"), (two, "available", "deleted")]
    assert (watch.ended, watch.unfinished) == ({one: "completed", two: "deleted"}, [])
    with pytest.raises(LookupError, match=str(two)):
        async with AsyncSession(engine) as session:
            await Watch([two]).look(session)
