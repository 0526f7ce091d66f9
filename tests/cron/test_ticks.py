"""Each tick makes one job, whatever happens to leaders, clocks and rows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import Cron, Oban, Unique, job
from oban_sqla.runtime.duties import scheduler as scheduler_module
from tests.cron.clock import Standing, database_time, grant, minute
from tests.cron.kills import each_tick_is_made_once
from tests.runtime.helpers import execute
from tests.support import eventually


@job(name="cron.beat")
async def beat(note: str = "") -> None: ...


@pytest.fixture
async def scheduler(engine: AsyncEngine) -> AsyncIterator[Standing]:
    """A leader whose clock stands."""
    await grant(engine)
    scheduler = Standing(engine)
    yield scheduler
    await scheduler.close()


async def enqueued(engine: AsyncEngine) -> list[Any]:
    """The jobs in the order of their insertion."""
    return await execute(engine, "SELECT id, queue, args, meta, state::text, scheduled_at FROM oban_jobs ORDER BY id")


async def ticks(engine: AsyncEngine, name: str = "beat") -> list[str]:
    """The ticks of an entry that made jobs, as ``HH:MM``, in the order of insertion."""
    rows = [row.meta for row in await enqueued(engine) if row.meta["cron_name"] == name]
    return [f"{datetime.fromisoformat(meta['cron_at']):%H:%M}" for meta in rows]


def clock(time: datetime) -> str:
    return f"{time:%H:%M}"


async def put(engine: AsyncEngine, expression: str = "* * * * *", **options: Any) -> datetime:
    """An entry ``beat`` that has been there for a day; the time now, at a full minute."""
    await Oban(engine).crons.put("beat", expression, options.pop("spec", beat), **options)
    await execute(engine, "UPDATE oban_crons SET since = since - interval '1 day' WHERE name = 'beat'")
    return minute(await database_time(engine))


async def test_three_minutes_under_two_leaders_that_are_killed_make_each_tick_once(
    engine: AsyncEngine, database_url: str, tmp_path: Path
) -> None:
    await each_tick_is_made_once(engine, database_url, tmp_path, minutes=3)


async def test_the_job_of_a_tick_says_where_it_comes_from(engine: AsyncEngine, scheduler: Standing) -> None:
    spec = beat.options(queue="beats", meta={"mine": 1}, schedule_in=90, tags=["t"], priority=3).new(note="x")
    now = await put(engine, "*/1 * * * *", spec=spec, timezone="Europe/Paris")
    await scheduler.at(now + timedelta(seconds=7))
    [row] = await enqueued(engine)
    assert row.queue == "beats"
    assert row.args == {"note": "x"}
    assert row.scheduled_at.replace(tzinfo=UTC) == now + timedelta(seconds=90), (
        "the planned time counts, not the noticed"
    )
    assert row.meta == {
        "mine": 1,
        "cron": True,
        "cron_name": "beat",
        "cron_expr": "*/1 * * * *",
        "cron_tz": "Europe/Paris",
        "cron_at": now.isoformat(),
    }


async def test_each_tick_is_a_new_copy_of_the_spec(engine: AsyncEngine, scheduler: Standing) -> None:
    spec = beat.new(note="same")
    now = await put(engine, spec=spec)
    await scheduler.at(now)
    await scheduler.at(minute(now, 1))
    first, second = await enqueued(engine)
    assert first.id != second.id
    assert (first.args, spec.id, spec.meta) == (second.args, None, {})


async def test_unique_counts_for_ticks_as_for_other_jobs(engine: AsyncEngine, scheduler: Standing) -> None:
    now = await put(engine, spec=beat.options(unique=Unique()).new())
    for n in range(3):
        await scheduler.at(minute(now, n))
    assert await ticks(engine) == [clock(now)]
    [[last]] = await execute(engine, "SELECT last_tick FROM oban_crons")
    assert last.replace(tzinfo=UTC) == minute(now, 2), "a tick whose job is there already has been taken"


async def test_a_tick_up_to_a_minute_late_is_run(engine: AsyncEngine, scheduler: Standing) -> None:
    now = await put(engine, "*/10 * * * *")
    due = now.replace(minute=now.minute // 10 * 10)
    await scheduler.at(due + timedelta(seconds=59))
    assert await ticks(engine) == [clock(due)]


async def test_a_tick_later_than_that_is_missed(engine: AsyncEngine, scheduler: Standing) -> None:
    now = await put(engine, "*/10 * * * *")
    due = now.replace(minute=now.minute // 10 * 10)
    await scheduler.at(due + timedelta(seconds=61))
    assert await ticks(engine) == []


async def test_catch_up_runs_the_last_missed_tick_once(engine: AsyncEngine, scheduler: Standing) -> None:
    now = await put(engine, "*/10 * * * *", catch_up=True)
    last = now.replace(minute=now.minute // 10 * 10)
    late = last + timedelta(minutes=5)
    for _ in range(3):
        await scheduler.at(late)
    assert await ticks(engine) == [clock(last)], "one, of a whole day that was missed"
    await scheduler.at(last + timedelta(minutes=10, seconds=1))
    assert await ticks(engine) == [clock(last), clock(last + timedelta(minutes=10))]


async def test_a_clock_that_steps_back_makes_nothing_twice(engine: AsyncEngine, scheduler: Standing) -> None:
    now = await put(engine)
    for minutes in (1, 2, 3, 1, 2, 0, 3, 4):
        await scheduler.at(minute(now, minutes) + timedelta(seconds=1))
    assert await ticks(engine) == [clock(minute(now, n)) for n in (1, 2, 3, 4)]


async def test_ticks_are_taken_in_ascending_order(engine: AsyncEngine, scheduler: Standing) -> None:
    now = await put(engine)
    await scheduler.at(now)
    await execute(engine, "UPDATE oban_crons SET last_tick = last_tick - interval '1 hour'")
    await scheduler.at(minute(now, 1) + timedelta(seconds=30))
    assert await ticks(engine) == [clock(now), clock(minute(now, 1))], "the minute before is more than a minute late"


async def test_a_successor_takes_the_tick_that_its_predecessor_died_over(
    engine: AsyncEngine, scheduler: Standing, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = await put(engine)

    def die(*_: object) -> None:
        raise RuntimeError("killed after taking the tick")

    with monkeypatch.context() as patch:
        patch.setattr("oban_sqla.runtime.duties.scheduler.write", die)
        with pytest.raises(RuntimeError):
            await scheduler.at(now + timedelta(seconds=1))
    assert await ticks(engine) == []
    successor = Standing(engine)
    await successor.at(now + timedelta(seconds=20))
    await successor.close()
    assert await ticks(engine) == [clock(now)]


async def test_a_leader_without_its_lease_takes_nothing(engine: AsyncEngine, scheduler: Standing) -> None:
    now = await put(engine)
    await grant(engine, seconds=-1)
    await scheduler.at(now)
    assert await ticks(engine) == []
    await grant(engine)
    await scheduler.at(now)
    assert await ticks(engine) == [clock(now)]


async def test_an_entry_that_changed_since_it_was_read_is_left_to_the_next_look(
    engine: AsyncEngine, scheduler: Standing, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = await put(engine)
    await scheduler.prepare()
    read = scheduler.read

    async def read_then_change() -> Any:
        found = await read()
        await execute(engine, "UPDATE oban_crons SET expression = '0 0 1 1 *'")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(scheduler, "read", read_then_change)
        await scheduler.at(now)
    assert await ticks(engine) == []


async def test_rows_of_other_programs_disturb_no_other_entry(engine: AsyncEngine, scheduler: Standing) -> None:
    now = await put(engine)
    insert = "INSERT INTO oban_crons (name, expression, timezone, spec, since) VALUES "
    day_ago = "timezone('UTC', now()) - interval '1 day'"
    for n, values in enumerate(
        [
            f"'nonsense', 'UTC', '{{}}', {day_ago}",
            f"'* * * * *', 'Mars/Olympus', '{{}}', {day_ago}",
            f"'* * * * *', 'UTC', '[]', {day_ago}",
            f"'* * * * *', 'UTC', '{{\"worker\": 5}}', {day_ago}",
            f'\'* * * * *\', \'UTC\', \'{{"worker": "w", "unique": {{"fields": ["x"]}}}}\', {day_ago}',
            f"'* * * * *', 'UTC', '{{\"worker\": \"w\", \"priority\": 99}}', {day_ago}",
            "'* * * * *', 'UTC', '{\"worker\": \"w\"}', '-infinity'",
            "'* * * * *', 'UTC', '{\"worker\": \"w\"}', 'infinity'",
        ]
    ):
        await execute(engine, f"{insert} ('a stranger {n}', {values})".replace(":", "\\:"))
    for n in range(2):
        await scheduler.at(minute(now, n))
    assert await ticks(engine) == [clock(now), clock(minute(now, 1))]


async def test_an_entry_that_left_the_code_is_inactive_until_it_is_back(engine: AsyncEngine) -> None:
    await grant(engine)
    own = {"beat": Cron("* * * * *", beat, name="beat")}
    first = Standing(engine, own)
    try:
        now = minute(await database_time(engine), 1)
        await first.at(now)
        assert await ticks(engine) == [clock(now)]
        await execute(engine, "UPDATE oban_crons SET declared_at = declared_at - interval '6 minutes'")
        await first.at(minute(now, 1))
        assert await ticks(engine) == [clock(now)]
        again = Standing(engine, own)
        await again.at(minute(now, 2))
        await again.close()
        assert await ticks(engine) == [clock(now), clock(minute(now, 2))]
    finally:
        await first.close()


async def test_a_node_says_again_which_entries_its_code_has(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else they would be inactive after five minutes, as those that were taken out of the code."""
    monkeypatch.setattr(scheduler_module, "CONFIRM_EVERY", 0.02)
    monkeypatch.setattr(scheduler_module, "REREAD", 0.02)
    async with Oban(engine, crontab=[Cron("0 0 1 1 *", beat.new(), name="yearly")]):

        async def declared() -> Any:
            return (await execute(engine, "SELECT declared_at FROM oban_crons"))[0][0]

        first = await declared()
        await eventually(lambda: _differs(declared, first))


async def _differs(read: Callable[[], Awaitable[Any]], first: Any) -> bool:
    return bool(await read() > first)
