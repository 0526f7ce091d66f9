"""The crontab of a running cluster: what the code has, what is edited at run time, and what the leader makes of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from oban_sqla import Cron, InvalidOption, Oban, Unique, job, migrations
from oban_sqla.models import CronEntry
from oban_sqla.runtime import node as node_module
from oban_sqla.runtime.duties import scheduler as scheduler_module
from oban_sqla.workers.registry import workers
from tests.cron.clock import Racing, Shown, database_time, minute
from tests.runtime.helpers import execute, until
from tests.support import eventually

ASLEEP = 3600.0


@job(name="cluster.tick")
async def tick(note: str = "") -> None: ...


@pytest.fixture
async def racing(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes whose clock runs sixty times as fast: a minute is a second."""
    Racing.base = Racing.shows = await database_time(engine)
    Racing.speed = 60.0
    monkeypatch.setattr(node_module, "Scheduler", Racing)


@pytest.fixture
def in_the_past(racing: None) -> None:
    """Their clock begins half an hour ago: by the database's, their jobs are due. Entries need backdating."""
    Racing.shows -= timedelta(minutes=30)


@pytest.fixture
async def shown(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes whose clock stands at a full minute, half an hour ago: by the database's, the jobs of ticks are due."""
    Shown.shows = minute(await database_time(engine), -30)
    monkeypatch.setattr(node_module, "Scheduler", Shown)


@pytest.fixture
def heard_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A leader that looks at the entries again only when it was told to."""
    monkeypatch.setattr(scheduler_module, "REREAD", ASLEEP * 60)


@asynccontextmanager
async def cluster(engine: AsyncEngine, **options: Any) -> AsyncGenerator[tuple[Oban, Oban]]:
    """A leader that works the queue, and another node."""
    async with Oban(engine, queues={"default": 5}, node="one", **options) as one, Oban(engine, node="two") as two:
        await eventually(lambda: one.is_leader)
        yield one, two


async def look(oban: Oban) -> None:
    """One step of the scheduler of a node. Its loop rests meanwhile, because a step empties the pool that it used."""
    assert oban._node is not None
    scheduler = oban._node.scheduler
    await scheduler.stop()
    await scheduler.step()
    scheduler.start()


async def backdate(engine: AsyncEngine) -> None:
    """Let the entries be there for an hour."""
    await execute(engine, "UPDATE oban_crons SET since = since - interval '1 hour'")


async def jobs(engine: AsyncEngine, name: str) -> list[Any]:
    sql = "SELECT id, state::text, args, meta FROM oban_jobs WHERE meta->>'cron_name' = :name ORDER BY id"
    return await execute(engine, sql, name=name)


async def entry(engine: AsyncEngine, name: str) -> CronEntry:
    async with AsyncSession(engine) as session:
        return (await session.execute(select(CronEntry).where(CronEntry.name == name))).scalar_one()


async def test_entries_of_the_code_are_rows_from_the_start_on(engine: AsyncEngine, decorated: str) -> None:
    crontab = [Cron("0 9 * * MON-FRI", tick.new("x"), timezone="Europe/Paris", name="report", catch_up=True)]
    async with Oban(engine, crontab=crontab):
        found = await eventually(lambda: entries(engine, "report", decorated))
    assert (found["report"].expression, found["report"].timezone) == ("0 9 * * MON-FRI", "Europe/Paris")
    assert found["report"].spec["args"] == {"note": "x"}
    assert (found["report"].catch_up, found["report"].paused, found["report"].last_tick) == (True, False, None)
    assert found[decorated].expression == "@hourly"


@pytest.fixture
def decorated() -> Iterator[str]:
    """A worker with a cron expression of its own."""

    @job(name="cluster.decorated", cron="@hourly")
    async def decorated() -> None: ...

    yield decorated.worker_name
    workers.remove([decorated.worker_name])


async def entries(engine: AsyncEngine, *names: str) -> dict[str, CronEntry] | None:
    found = {entry.name: entry for entry in await Oban(engine).crons.all()}
    return found if found.keys() >= set(names) else None


@pytest.mark.usefixtures("shown")
async def test_ticks_come_and_their_jobs_run(engine: AsyncEngine) -> None:
    times: list[str] = []

    async def each_ran() -> bool:
        found = [(row.state, row.meta["cron_at"]) for row in await jobs(engine, "beat")]
        return found == [("completed", time) for time in times]

    await Oban(engine).crons.put("beat", "* * * * *", tick)
    await backdate(engine)
    async with cluster(engine):
        for _ in range(3):
            times.append(Shown.shows.isoformat())
            await eventually(each_ran)
            Shown.shows += timedelta(minutes=1)


@pytest.mark.usefixtures("in_the_past", "heard_only")
async def test_the_job_of_a_tick_wakes_its_queue_as_a_commit_does(engine: AsyncEngine) -> None:
    async with Oban(engine, queues={"default": 5}, poll_interval=ASLEEP) as oban:
        await oban.crons.put("beat", "* * * * *", tick)
        await backdate(engine)
        await oban.crons.put("beat", "* * * * *", tick)

        async def done() -> bool:
            return any(state == "completed" for _, state, _, _ in await jobs(engine, "beat"))

        await eventually(done, timeout=10)


@pytest.mark.usefixtures("racing", "heard_only")
async def test_an_entry_that_another_node_puts_counts_at_once(engine: AsyncEngine) -> None:
    async with cluster(engine) as (_, two):
        await two.crons.put("late", "* * * * *", tick.new("put"))
        found = await eventually(lambda: jobs(engine, "late"), timeout=10)
        assert found[0].args == {"note": "put"}
        await two.crons.put("late", "* * * * *", tick.new("changed"))

        async def changed() -> bool:
            return (await jobs(engine, "late"))[-1].args == {"note": "changed"}

        await eventually(changed, timeout=10)


@pytest.mark.usefixtures("shown")
async def test_a_paused_entry_makes_no_jobs_until_it_is_resumed(engine: AsyncEngine) -> None:
    crons = Oban(engine).crons
    await crons.put("paused", "* * * * *", tick, paused=True)
    await crons.put("beat", "* * * * *", tick)
    await backdate(engine)
    async with cluster(engine) as (_, two):
        await eventually(lambda: jobs(engine, "beat"))
        assert await jobs(engine, "paused") == []
        await two.crons.resume("paused")
        await two.crons.pause("beat")
        Shown.shows = minute((await entry(engine, "paused")).since, 1)
        [made] = await eventually(lambda: jobs(engine, "paused"))
        assert made.meta["cron_at"] == Shown.shows.isoformat(), "what was due during the pause is not made up for"
        assert len(await jobs(engine, "beat")) == 1


@pytest.mark.usefixtures("racing", "heard_only")
async def test_what_is_deleted_is_over(engine: AsyncEngine) -> None:
    async with cluster(engine) as (_, two):
        await two.crons.put("gone", "* * * * *", tick)
        await eventually(lambda: jobs(engine, "gone"), timeout=10)
        assert await two.crons.delete("gone")
        assert not await two.crons.delete("gone")
        before = len(await jobs(engine, "gone"))
        await two.crons.put("beat", "* * * * *", tick)

        async def two_beats() -> bool:
            return len(await jobs(engine, "beat")) >= 2

        await eventually(two_beats, timeout=10)
        assert len(await jobs(engine, "gone")) == before
        assert [entry.name for entry in await two.crons.all()] == ["beat"]


async def test_run_now_runs_the_job_of_an_entry_paused_or_not(engine: AsyncEngine) -> None:
    spec = tick.options(unique=Unique()).new("now")
    async with cluster(engine, poll_interval=ASLEEP) as (_, two):
        await two.crons.put("yearly", "@yearly", spec, timezone="Europe/Paris", paused=True)
        first = await two.crons.run_now("yearly")
        assert first.id is not None
        done = await until(engine, first.id, "completed")
        assert done.args == {"note": "now"}
        assert done.meta.items() >= {"cron": True, "cron_expr": "@yearly", "cron_tz": "Europe/Paris"}.items()
        assert (await entry(engine, "yearly")).last_tick is None, "beside its ticks"
    async with Oban(engine) as oban:
        assert not (await oban.crons.run_now("yearly")).conflict
        assert (await oban.crons.run_now("yearly")).conflict, "its unique counts"


async def test_a_put_heals_an_entry_whose_last_tick_lies_ahead(engine: AsyncEngine) -> None:
    crons = Oban(engine).crons
    await crons.put("beat", "@daily", tick)
    assert (await entry(engine, "beat")).last_tick is None
    await execute(engine, "UPDATE oban_crons SET last_tick = timezone('UTC', now()) + interval '4 years'")
    await crons.put("beat", "@daily", tick)
    healed = (await entry(engine, "beat")).last_tick
    assert healed is not None
    assert healed <= await database_time(engine)


async def test_an_unknown_name_is_told_with_the_nearest(engine: AsyncEngine) -> None:
    crons = Oban(engine).crons
    await crons.put("nightly", "@daily", tick)
    for call in (crons.pause, crons.resume, crons.run_now):
        with pytest.raises(InvalidOption, match="unknown cron entry 'nightyl': did you mean 'nightly'"):
            await call("nightyl")
    with pytest.raises(InvalidOption, match="five fields"):
        await crons.put("x", "nonsense", tick)


async def test_a_start_changes_what_the_code_says_and_keeps_what_was_said_at_run_time(engine: AsyncEngine) -> None:
    async def start(*crontab: Cron) -> dict[str, CronEntry]:
        async with Oban(engine, crontab=crontab):
            return await eventually(lambda: entries(engine, *(cron.key for cron in crontab))) or {}

    crons = Oban(engine).crons
    await start(
        Cron("@daily", tick, name="paused"), Cron("@daily", tick, name="put"), Cron("@daily", tick, name="code")
    )
    await crons.pause("paused")
    await crons.put("put", "@weekly", tick.new("by hand"))
    since = (await entry(engine, "paused")).since
    await start(Cron("@daily", tick.new("2"), name="paused"), Cron("@hourly", tick, name="put"))
    after = {name: await entry(engine, name) for name in ("paused", "put", "code")}
    assert after["paused"].paused
    assert after["paused"].spec["args"] == {"note": "2"}
    assert after["paused"].since == since, "the same times: nothing is missed by a deployment"
    assert (after["put"].expression, after["put"].spec["args"]) == ("@weekly", {"note": "by hand"})
    assert after["code"].expression == "@daily"
    await start(Cron("@hourly", tick, name="code"))
    assert (await entry(engine, "code")).expression == "@hourly"
    assert (await entry(engine, "code")).since > since, "no tick of the new times is due before they were known"


async def test_reboot_runs_when_a_node_leads_that_was_started_since(engine: AsyncEngine) -> None:
    crontab = [Cron("@reboot", tick, name="boot")]
    one, two, three = (Oban(engine, node=name, crontab=crontab) for name in ("one", "two", "three"))

    async def boots(oban: Oban) -> int:
        await eventually(lambda: oban.is_leader)
        await look(oban)
        return len(await jobs(engine, "boot"))

    try:
        await one.start()
        assert await boots(one) == 1
        assert await boots(one) == 1, "once"
        await two.start()
        await one.stop()
        assert await boots(two) == 2
        await three.start()
        await look(two)
        await execute(engine, "UPDATE oban_crons SET last_tick = timezone('UTC', now())")
        await two.stop()
        assert await boots(three) == 2, "it was there when the entry last ran"
    finally:
        for oban in (one, two, three):
            await oban.stop()


async def test_an_entry_put_at_run_time_for_the_reboot_waits_for_one(engine: AsyncEngine) -> None:
    async with Oban(engine) as oban:
        await eventually(lambda: oban.is_leader)
        await oban.crons.put("boot", "@reboot", tick)
        await look(oban)
        assert await jobs(engine, "boot") == []
    async with Oban(engine):
        await eventually(lambda: jobs(engine, "boot"))


async def test_a_worker_imported_later_is_declared_too(engine: AsyncEngine) -> None:
    async with Oban(engine) as oban:

        @job(name="cluster.imported_later", cron="@daily")
        async def imported_later() -> None: ...

        try:
            await look(oban)
            assert (await entry(engine, "cluster.imported_later")).expression == "@daily"
        finally:
            workers.remove(["cluster.imported_later"])


@pytest.mark.usefixtures("racing")
async def test_with_psycopg_too(any_engine: AsyncEngine) -> None:
    async with Oban(any_engine, queues={"default": 5}, crontab=[Cron("* * * * *", tick, name="beat")]) as oban:
        await oban.crons.put("other", "* * * * *", tick)
        for name in ("beat", "other"):
            await eventually(lambda name=name: jobs(any_engine, name), timeout=10)  # type: ignore[misc]
        await oban.crons.pause("other")
        assert [entry.paused for entry in await oban.crons.all()] == [False, True]
        assert (await oban.crons.run_now("other")).id is not None
        assert (await oban.crons.all())[0].next(datetime.fromisoformat("2026-01-01T00:00:30+00:00")) is not None


@pytest.mark.usefixtures("in_the_past")
async def test_in_another_schema(engine: AsyncEngine) -> None:
    await migrations.migrate(engine, schema="crons_apart")
    apart = engine.execution_options(schema_translate_map={None: "crons_apart"})
    try:
        async with Oban(apart, queues={"default": 5}, crontab=[Cron("* * * * *", tick, name="beat")]) as oban:
            await oban.crons.put("other", "* * * * *", tick)
            await execute(engine, "UPDATE crons_apart.oban_crons SET since = since - interval '1 hour'")

            async def both() -> bool:
                sql = "SELECT DISTINCT meta->>'cron_name' FROM crons_apart.oban_jobs WHERE state = 'completed'"
                return len(await execute(engine, sql)) == 2

            await eventually(both, timeout=10)
            assert await execute(engine, "SELECT 1 FROM public.oban_jobs UNION SELECT 1 FROM public.oban_crons") == []
    finally:
        await execute(engine, "DROP SCHEMA crons_apart CASCADE")
