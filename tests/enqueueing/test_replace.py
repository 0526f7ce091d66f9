"""What a duplicate of a unique job changes: fields of the job that waits, or the time at which it is due."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from oban_sqla import (
    Chain,
    Cron,
    InvalidOption,
    Job,
    JobSpec,
    Oban,
    Unique,
    enqueue,
    enqueue_from,
    job,
    later,
)
from oban_sqla.testing import drain, mode
from tests.runtime.helpers import execute, insert, load, until
from tests.support import eventually

KEYED = Unique(keys=["id"], replace=("args",))
runs: list[tuple[int, int, datetime]] = []


@job(name="replace.index", queue="index")
async def index(id: int, version: int = 0) -> None:
    runs.append((id, version, datetime.now(UTC)))


@job(name="replace.debounced", queue="index", unique=Unique(keys=["id"], debounce=0.6, replace=("args",)))
async def debounced(id: int, version: int = 0) -> None:
    runs.append((id, version, datetime.now(UTC)))


@pytest.fixture(autouse=True)
def nothing_has_run() -> None:
    """Nothing is left of the test before."""
    runs.clear()


def spec(id: int = 1, version: int = 0, unique: Unique = KEYED, **options: Any) -> JobSpec:
    return index.options(unique=unique, **options).new(id, version)


async def only(engine: AsyncEngine) -> Job:
    async with AsyncSession(engine) as session:
        return (await session.scalars(select(Job))).one()


@pytest.mark.parametrize("others", [0, 3], ids=["alone", "among others"])
async def test_the_duplicate_changes_the_job_and_says_so(any_engine: AsyncEngine, others: int) -> None:
    more = [spec(id=100 + number) for number in range(others)]
    [first, *_] = await insert(any_engine, spec(version=1), *more)
    async with AsyncSession(any_engine) as session, session.begin():
        again = spec(version=2)
        session.add_all([again, *(spec(id=100 + number, version=9) for number in range(others))])
    assert (again.id, again.conflict, again.state) == (first, True, "available")
    assert (await load(any_engine, first)).args == {"id": 1, "version": 2}
    assert await execute(any_engine, "SELECT count(*) FROM oban_jobs") == [(1 + others,)]


def test_it_does_so_in_a_plain_session(sync_engine: Engine) -> None:
    with Session(sync_engine) as session:
        session.add(spec(version=1))
        session.flush()
        session.add(spec(version=2))
        session.flush()
        assert session.scalars(select(Job.args)).all() == [{"id": 1, "version": 2}]


async def test_every_field_can_be_replaced(any_engine: AsyncEngine) -> None:
    unique = Unique(
        fields=["worker"],
        replace=("args", "meta", "tags", "priority", "max_attempts", "queue", "scheduled_at"),
    )
    at = datetime(2030, 1, 1, tzinfo=UTC)
    await insert(any_engine, spec(unique=unique, priority=5, meta={"a": 1}))
    await execute(any_engine, "UPDATE oban_jobs SET meta = meta || jsonb_build_object('snoozed', 1)")
    options: dict[str, Any] = {"priority": 2, "meta": {"b": 2}, "tags": ["x"], "max_attempts": 3, "queue": "other"}
    await insert(any_engine, spec(2, 7, unique, scheduled_at=at, **options))
    found = await only(any_engine)
    assert (found.args, found.meta, found.tags) == ({"id": 2, "version": 7}, {"b": 2, "snoozed": 1}, ["x"])
    assert (found.priority, found.max_attempts, found.queue, found.scheduled_at) == (2, 3, "other", at)
    assert found.state == "scheduled"


async def test_a_priority_is_only_ever_raised(engine: AsyncEngine) -> None:
    unique = Unique(keys=["id"], replace=("priority",))
    [first] = await insert(engine, spec(priority=5, unique=unique))
    for given, kept in ((7, 5), (3, 3), (9, 3), (0, 0)):
        await insert(engine, spec(priority=given, version=given, unique=unique))
        found = await load(engine, first)
        assert (found.priority, found.args["version"]) == (kept, 0)


@pytest.mark.parametrize("state", ["available", "scheduled", "suspended", "retryable", "executing"])
async def test_only_the_named_states_are_changed(engine: AsyncEngine, state: str) -> None:
    unique = Unique(keys=["id"], replace={"scheduled": ("args", "scheduled_at"), "retryable": ("args",)})
    [first] = await insert(engine, spec(unique=unique, schedule_in=3600))
    await execute(engine, "UPDATE oban_jobs SET state = cast(:state AS oban_job_state)", state=state)
    before = await load(engine, first)
    [again] = await written(engine, [spec(version=2, unique=unique, schedule_in=60)])
    found = await load(engine, first)
    assert (again.id, again.conflict, again.state) == (first, True, state)
    assert found.args["version"] == (2 if state in ("scheduled", "retryable") else 0)
    assert (found.scheduled_at < before.scheduled_at) is (state == "scheduled")
    assert found.state == state


async def written(engine: AsyncEngine, specs: list[JobSpec]) -> list[JobSpec]:
    async with AsyncSession(engine) as session, session.begin():
        return await enqueue(session, specs)


async def test_a_new_time_moves_the_job_between_its_states(engine: AsyncEngine) -> None:
    unique = Unique(keys=["id"], replace=("scheduled_at",))
    [first] = await insert(engine, spec(unique=unique, schedule_in=3600))
    [now] = await written(engine, [spec(unique=unique)])
    assert (now.id, now.state, (await load(engine, first)).state) == (first, "available", "available")
    [soon] = await written(engine, [spec(unique=unique, schedule_in=60)])
    assert (soon.state, (await load(engine, first)).state) == ("scheduled", "scheduled")
    retried = Unique(keys=["id"], states=["scheduled"], replace=("scheduled_at",))
    await insert(engine, spec(id=2, unique=retried, schedule_in=3600))
    [other] = await written(engine, [spec(id=2, unique=retried, scheduled_at=datetime.now(UTC) + timedelta(0.5))])
    assert (other.conflict, other.state) == (True, "scheduled")


async def test_several_with_one_key_in_one_flush_are_one_job_and_the_last_one_counts(engine: AsyncEngine) -> None:
    unique = Unique(keys=["id"], replace=("args", "priority"))
    specs = [spec(1, number, unique, priority=priority) for number, priority in enumerate((5, 3, 8, 6))]
    async with AsyncSession(engine) as session, session.begin():
        session.add_all([*specs, spec(2)])
    assert [one.conflict for one in specs] == [False, True, True, True]
    assert len({one.id for one in specs}) == 1
    found = await load(engine, specs[0].id or 0)
    assert (found.args["version"], found.priority) == (3, 3)


async def test_later_and_plain_jobs_go_the_same_way(engine: AsyncEngine) -> None:
    await insert(engine, spec())
    plain = index.new(1, 5)
    async with AsyncSession(engine) as session, session.begin():
        session.add_all([plain, index.options(unique=KEYED).new(1, later(lambda: 8))])
    async with AsyncSession(engine) as session:
        args = (await session.scalars(select(Job.args).order_by(Job.id))).all()
    assert args == [{"id": 1, "version": 8}, {"id": 1, "version": 5}]
    assert plain.conflict is False


async def test_a_rollback_undoes_the_change(engine: AsyncEngine) -> None:
    [first] = await insert(engine, spec())
    async with AsyncSession(engine) as session:
        session.add(spec(version=5))
        await session.flush()
        await session.rollback()
    assert (await load(engine, first)).args["version"] == 0


async def test_a_job_that_begins_meanwhile_has_no_duplicate_in_what_waits_for_its_row(engine: AsyncEngine) -> None:
    unique = Unique(keys=["id"], states="waiting", replace=("args",))
    [first] = await insert(engine, spec(unique=unique))
    async with engine.connect() as taking:
        await taking.exec_driver_sql("UPDATE oban_jobs SET state = 'executing', attempt = 1")
        late = asyncio.create_task(written(engine, [spec(version=2, unique=unique), spec(3)]))
        await asyncio.sleep(0)
        await taking.commit()
    [again, _] = await late
    assert again.id != first
    assert again.conflict is False


async def test_a_job_that_was_moved_runs_at_its_new_time(any_engine: AsyncEngine) -> None:
    unique = Unique(keys=["id"], replace=("scheduled_at", "args"))
    async with Oban(any_engine, queues={"index": 2}, poll_interval=60, notify="auto"):
        [first] = await insert(any_engine, spec(unique=unique, schedule_in=3600))
        await insert(any_engine, spec(version=1, unique=unique))
        await until(any_engine, first, "completed")
        [second] = await insert(any_engine, spec(id=2, unique=unique, schedule_in=3600))
        await insert(any_engine, spec(id=2, version=4, unique=unique, schedule_in=0.3))
        await until(any_engine, second, "completed", timeout=9.0)
    assert [(id, version) for id, version, _ in runs] == [(1, 1), (2, 4)]


async def test_a_debounced_job_waits_for_the_last_call(any_engine: AsyncEngine) -> None:
    unique = Unique(keys=["id"], debounce=timedelta(minutes=5), debounce_max=3600)
    [first] = await insert(any_engine, spec(unique=unique))
    created = await load(any_engine, first)
    assert created.state == "scheduled"
    assert timedelta(seconds=295) < created.scheduled_at - created.inserted_at <= timedelta(seconds=301)
    await execute(any_engine, "UPDATE oban_jobs SET scheduled_at = scheduled_at - interval '4 minutes'")
    [again] = await written(any_engine, [spec(version=3, unique=unique)])
    moved = await load(any_engine, first)
    assert (again.id, again.conflict, again.state) == (first, True, "scheduled")
    assert moved.scheduled_at >= created.scheduled_at
    assert moved.args["version"] == 0  # nothing was to be replaced
    assert moved.meta["debounced"] == 1
    # One that is due already, and waits for room, is put off again; not beyond the longest time after the first call.
    await execute(
        any_engine,
        "UPDATE oban_jobs SET state = 'available', inserted_at = inserted_at - interval '58 minutes', "
        "scheduled_at = inserted_at",
    )
    [last] = await written(any_engine, [spec(unique=unique)])
    capped = await load(any_engine, first)
    assert last.state == "scheduled"
    assert abs(capped.scheduled_at - capped.inserted_at - timedelta(hours=1)) < timedelta(seconds=1)
    await execute(any_engine, "UPDATE oban_jobs SET inserted_at = inserted_at - interval '1 hour'")
    [due] = await written(any_engine, [spec(unique=unique)])
    assert due.state == "available"


async def test_a_failed_job_keeps_the_wait_before_its_next_attempt(engine: AsyncEngine) -> None:
    unique = Unique(keys=["id"], debounce=1, debounce_max=2)
    [first] = await insert(engine, spec(unique=unique))
    await execute(
        engine,
        "UPDATE oban_jobs SET state = 'retryable', attempt = 1, scheduled_at = timezone('UTC', now()) + interval '1 h'",
    )
    before = await load(engine, first)
    [again] = await written(engine, [spec(unique=unique)])
    after = await load(engine, first)
    assert (again.state, after.state, after.scheduled_at) == ("retryable", "retryable", before.scheduled_at)


async def test_what_comes_while_a_debounced_job_executes_is_another_job(engine: AsyncEngine) -> None:
    unique = Unique(keys=["id"], debounce=30)
    [first] = await insert(engine, spec(unique=unique))
    await execute(engine, "UPDATE oban_jobs SET state = 'executing', attempt = 1")
    [again] = await written(engine, [spec(unique=unique)])
    assert (again.id != first, again.conflict) == (True, False)


async def test_many_calls_from_many_connections_are_one_run_after_the_last(engine: AsyncEngine) -> None:
    async with Oban(engine, queues={"index": 5}):

        async def call(caller: int) -> None:
            for number in range(8):
                await insert(engine, debounced.new(1, caller * 100 + number))
                await asyncio.sleep(random.uniform(0.0, 0.1))

        await asyncio.gather(*(call(caller) for caller in range(6)))
        last = datetime.now(UTC)
        found = await only(engine)
        done = await until(engine, found.id, "completed")
        assert done.attempted_at is not None
        assert len(runs) == 1
        assert done.attempted_at > last
        assert done.meta["debounced"] == 47


async def test_ticks_of_a_crontab_are_calls_of_a_debounce(engine: AsyncEngine) -> None:
    async with Oban(engine) as oban:
        await oban.crons.put("nightly", "0 0 1 1 *", debounced.new(7))
        first = await oban.crons.run_now("nightly")
        again = await oban.crons.run_now("nightly")
    assert (first.conflict, again.conflict, again.id) == (False, True, first.id)
    found = await load(engine, first.id or 0)
    assert (found.state, found.meta["cron_name"]) == ("scheduled", "nightly")
    assert Cron("@daily", debounced.new(7)).row()["spec"]


async def test_tests_run_them_as_other_jobs(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        session.add_all([spec(version=1), spec(version=2)])
        assert await drain(session) == {"completed": 1}
        session.add(spec(unique=Unique(keys=["id"], debounce=3600)))
        assert await drain(session) == {}
        assert await drain(session, with_scheduled=True) == {"completed": 1}
        async with mode("inline"):
            session.add(spec(version=5))
            await session.flush()
    assert [version for _, version, _ in runs] == [2, 0, 5]


async def test_why_says_until_when_a_job_is_debounced_and_of_what_a_spec_is_a_duplicate(engine: AsyncEngine) -> None:
    unique = Unique(keys=["id"], debounce=300)
    await insert(engine, spec(unique=unique))
    [again] = await written(engine, [spec(unique=unique)])
    why = await Oban(engine).why(again)
    assert why.reason.code == "debounced"
    assert "debounced" in why.reason.text
    assert "moved once" in why.reason.text
    assert why.reasons[-1].code == "duplicate"


async def test_combinations_that_mean_nothing_are_refused(engine: AsyncEngine) -> None:
    bad: Sequence[tuple[dict[str, Any], str]] = (
        ({"replace": {"executing": ("args",)}}, "jobs that wait"),
        ({"replace": ("worker",)}, "can't be replaced"),
        ({"replace": ("prority",)}, "did you mean 'priority'"),
        ({"replace": "args"}, "a tuple of some of"),
        ({"replace": ()}, "a tuple of some of"),
        ({"replace": {}}, "at least one state"),
        ({"replace": {"retryable": ("args",)}, "states": ["available"]}, "no duplicates"),
        ({"debounce": 0}, "more than 0"),
        ({"debounce": 30, "debounce_max": 10}, "at least debounce"),
        ({"debounce_max": 10}, "it needs debounce"),
        ({"debounce": 30, "period": 60}, "both period and debounce"),
        ({"debounce": 30, "replace": ("scheduled_at",)}, "set the same time"),
        ({"debounce": 30, "states": "incomplete"}, "counts while it waits"),
        ({"debounce": 30, "states": ["scheduled", "completed"]}, "counts while it waits"),
    )
    for options, said in bad:
        with pytest.raises(InvalidOption, match=said):
            Unique(**options)
    with pytest.raises(InvalidOption, match="set the same time"):
        debounced.options(schedule_in=5)
    with pytest.raises(InvalidOption, match="set the same time"):
        debounced.options(scheduled_at=datetime.now(UTC))
    async with AsyncSession(engine) as session:
        for unique in (KEYED, Unique(debounce=3)):
            with pytest.raises(InvalidOption, match="can't be used"):
                await enqueue_from(session, index, select(func.generate_series(1, 3).label("id")), unique=unique)


async def test_flushes_of_the_same_jobs_neither_deadlock_nor_lose_one(engine: AsyncEngine, database_url: str) -> None:
    wide = create_async_engine(database_url, pool_size=12)
    count = 100
    unique = Unique(keys=["id"], replace=("args", "priority", "scheduled_at"))
    done = asyncio.Event()

    async def flush(number: int) -> None:
        for _ in range(3):
            specs = [spec(id, number, unique, schedule_in=random.choice([3600.0, 7200.0])) for id in range(count)]
            random.shuffle(specs)
            async with AsyncSession(wide) as session, session.begin():
                session.add_all(specs)

    async def disturb(oban: Oban) -> None:
        while not done.is_set():
            await oban.retry(select(Job).where(Job.id % 3 == 0).order_by(Job.id.desc()))
            await oban.update(select(Job).where(Job.id % 5 == 0), priority=7)
            await asyncio.sleep(0.01)

    try:
        oban = Oban(wide)
        disturbing = asyncio.create_task(disturb(oban))
        await asyncio.gather(*(flush(number) for number in range(8)))
        done.set()
        await disturbing
        [(jobs, keys)] = await execute(wide, "SELECT count(*), count(DISTINCT uniq_key) FROM oban_jobs")
        assert (jobs, keys) == (count, count)
    finally:
        done.set()
        await wide.dispose()


async def test_jobs_that_begin_and_end_meanwhile_are_enqueued_anew(engine: AsyncEngine, database_url: str) -> None:
    wide = create_async_engine(database_url, pool_size=12)
    unique = Unique(keys=["id"], states="waiting", replace=("args",))
    try:
        async with Oban(wide, queues={"index": 20}):

            async def flush(number: int) -> None:
                for round in range(4):
                    specs = [spec(id, number * 10 + round, unique) for id in range(30)]
                    async with AsyncSession(wide) as session, session.begin():
                        session.add_all(specs)

            await asyncio.gather(*(flush(number) for number in range(6)))

            async def all_have_run() -> bool:
                return await execute(wide, "SELECT id FROM oban_jobs WHERE state <> 'completed' LIMIT 1") == []

            await eventually(all_have_run)
        assert {id for id, _, _ in runs} == set(range(30))
    finally:
        await wide.dispose()


async def test_jobs_that_replace_and_jobs_of_a_chain_are_enqueued_together(engine: AsyncEngine) -> None:
    @job(name="replace.chained", chain=Chain("worker"))
    async def plain(id: int, version: int = 0) -> None: ...

    unique = plain.options(unique=Unique(keys=["id"]))
    specs = [spec(1, 1), plain.new(7), spec(2, 1), unique.new(8), index.new(9), unique.new(8), spec(1, 2)]
    ids = await insert(engine, *specs)
    assert [one.conflict for one in specs] == [False] * 5 + [True] * 2
    assert (ids[5], ids[6]) == (ids[3], ids[0])
    kept = "SELECT (args ->> 'id')::int, (args ->> 'version')::int FROM oban_jobs ORDER BY 1"
    assert await execute(engine, kept) == [(1, 2), (2, 1), (7, None), (8, None), (9, None)]
