"""Batches: callbacks that are enqueued once, when something has become of the jobs."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from oban_sqla import (
    Batch,
    Chain,
    Discard,
    InvalidOption,
    Job,
    Oban,
    Prune,
    Queue,
    Unique,
    enqueue,
    job,
    later,
    telemetry,
)
from oban_sqla.testing import drain, mode, perform, resources
from tests.limits.helpers import QUICK, all_done
from tests.runtime.helpers import execute
from tests.support import eventually

called: list[tuple[Any, ...]] = []
failing: set[int] = set()


@pytest.fixture(autouse=True)
def _fresh() -> None:
    called.clear()
    failing.clear()


@pytest.fixture
def send() -> Any:
    @job(name="batches.send", backoff=0.02, max_attempts=2)
    async def send(n: int) -> Discard | None:
        if n in failing:
            failing.discard(n)
            raise RuntimeError("down")
        return Discard("no") if n < 0 else None

    return send


@pytest.fixture
def report() -> Any:
    @job(name="batches.report")
    async def report(batch: Batch, kind: str) -> None:
        called.append((kind, batch.name, dict(batch.counts), len(batch.jobs)))

    return report


def callbacks(report: Any, *kinds: str) -> dict[str, Any]:
    chosen = kinds or ("attempted", "completed", "exhausted", "cancelled", "discarded", "retryable")
    return {f"on_{kind}": report.new(kind=kind) for kind in chosen}


@asynccontextmanager
async def node(engine: AsyncEngine, **options: Any) -> AsyncGenerator[Oban, None]:
    async with Oban(engine, queues={"default": Queue(limit=10)}, **QUICK | options) as oban:
        yield oban


async def commit(engine: AsyncEngine, *batches: Batch) -> None:
    async with AsyncSession(engine) as session, session.begin():
        session.add_all(batches)


async def callback_counts(engine: AsyncEngine) -> dict[str, int]:
    found = "SELECT meta ->> 'callback', count(*) FROM oban_jobs WHERE meta ? 'callback' GROUP BY 1"
    rows = await execute(engine, found)
    return dict(tuple(row) for row in rows)


async def test_a_batch_that_goes_well_calls_back_and_a_callback_gets_its_batch(
    any_engine: AsyncEngine, send: Any, report: Any
) -> None:
    async with node(any_engine):
        batch = Batch([send.new(n) for n in range(5)], name="mails", **callbacks(report))
        async with AsyncSession(any_engine) as session, session.begin():
            session.add(batch)
            assert batch.id is None
        assert isinstance(batch.id, int), "readable after the commit"
        await eventually(lambda: len(called) == 3)
        await all_done(any_engine)
    assert sorted(kind for kind, *_ in called) == ["attempted", "completed", "exhausted"]
    assert all(rest == ("mails", {"completed": 5}, 5) for _, *rest in map(list, called) for rest in [tuple(rest)])


async def test_each_kind_of_end_has_its_callback(engine: AsyncEngine, send: Any, report: Any) -> None:
    failing.add(1)
    async with node(engine) as oban:
        batch = Batch([send.new(1), send.new(-1), send.options(schedule_in=3_600).new(2)], **callbacks(report))
        await commit(engine, batch)
        await eventually(lambda: sorted(kind for kind, *_ in called) == ["discarded", "retryable"])
        assert await oban.cancel(select(Job).where(Job.batch_id == batch.id, Job.state == "scheduled")) == 1
        await eventually(lambda: len(called) == 5)
    assert {kind for kind, *_ in called[2:]} == {"attempted", "cancelled", "exhausted"}, "not completed"
    assert set((await callback_counts(engine)).values()) == {1}


async def test_a_batch_is_an_object_like_any_other(engine: AsyncEngine, send: Any) -> None:
    async with AsyncSession(engine) as session:
        batch = Batch([send.new(1)], name="rolled back")
        session.add(batch)
        await session.flush()
        first = batch.id
        await session.rollback()
        assert batch.id is None
        assert batch not in session
        session.add(batch)
        await session.commit()
        assert batch.id != first
        found = await session.scalar(select(Batch).where(Batch.id == batch.id))
        assert found is batch
        await session.refresh(batch, ["name", "counts", "jobs"])
        assert (batch.name, batch.counts, [one.args for one in batch.jobs]) == (
            "rolled back", {"available": 1}, [{"n": 1}],
        )  # fmt: skip
        assert await session.scalar(select(Batch.counts).where(Batch.id == batch.id)) == {"available": 1}
    assert await execute(engine, "SELECT count(*) FROM oban_jobs") == [(1,)]


def test_a_plain_session_writes_a_batch(sync_engine: Any, send: Any) -> None:
    with Session(sync_engine) as session, session.begin():
        session.add(batch := Batch(send.new(n) for n in range(3)))
    with Session(sync_engine) as session:
        loaded = session.get_one(Batch, batch.id)
        assert [one.args["n"] for one in loaded.jobs] == [0, 1, 2]
        assert loaded.counts == {"available": 3}


async def test_what_a_batch_refuses(engine: AsyncEngine, send: Any) -> None:
    async with AsyncSession(engine) as session:
        batch = Batch([send.new(1)])
        with pytest.raises(InvalidOption, match="can't be merged, its jobs would be lost"):
            await session.merge(batch)
        with pytest.raises(InvalidOption, match="a batch is one object"):
            session.add_all(batch)
        batch.add(send.new(2))
        session.add(batch)
        await session.commit()
        with pytest.raises(InvalidOption, match="is written; more jobs are added by"):
            batch.add(send.new(3))
        await session.delete(batch)
        with pytest.raises(InvalidOption, match=r"use await oban.delete\(batch\)"):
            await session.flush()
        await session.rollback()
        twice = send.new(4)
        session.add_all([twice, Batch([twice])])
        with pytest.raises(InvalidOption, match="was added by itself, too"):
            await session.flush()
        await session.rollback()
    with pytest.raises(InvalidOption, match="can't be subclassed"):
        type("Mine", (Batch,), {})
    with pytest.raises(InvalidOption, match="at least one job"):
        Batch([])
    with pytest.raises(InvalidOption, match=r"on_completed must be a job such as report.new\(\)"):
        Batch([send.new(1)], on_completed=send)
    with pytest.raises(InvalidOption, match="is in another batch or flow"):
        Batch([twice])
    assert await execute(engine, "SELECT count(*) FROM oban_jobs") == [(2,)]


async def test_jobs_are_added_to_a_batch_until_it_has_finished(engine: AsyncEngine, send: Any, report: Any) -> None:
    batch = Batch([send.new(0)], **callbacks(report, "exhausted"))
    await commit(engine, batch)
    async with AsyncSession(engine) as session, session.begin():
        await enqueue(session, [send.new(1), send.new(2)], batch=batch)
    async with node(engine):
        await eventually(lambda: bool(called))
    assert called == [("exhausted", None, {"completed": 3}, 3)]
    async with AsyncSession(engine) as session:
        with pytest.raises(InvalidOption, match="has finished, at .*; make another one"):
            await enqueue(session, send.new(3), batch=batch)
        with pytest.raises(InvalidOption, match="is not written yet"):
            await enqueue(session, send.new(3), batch=Batch([send.new(4)]))
        with pytest.raises(InvalidOption, match="batch must be a Batch that is written, got 'newsletter'"):
            await enqueue(session, send.new(3), batch="newsletter")  # type: ignore[call-overload]


async def test_a_transaction_that_adds_delays_the_callbacks_of_its_batch_and_of_no_other(
    engine: AsyncEngine, send: Any, report: Any
) -> None:
    one, other = (Batch([send.new(0)], name=name, **callbacks(report, "exhausted")) for name in ("one", "other"))
    await commit(engine, one, other)
    async with AsyncSession(engine) as session:
        await enqueue(session, send.new(1), batch=one)
        async with node(engine):
            await eventually(lambda: bool(called))
            assert called == [("exhausted", "other", {"completed": 1}, 1)]
            await session.commit()
            await eventually(lambda: len(called) == 2)
    assert called[1] == ("exhausted", "one", {"completed": 2}, 2)


async def test_a_retried_job_fires_no_callback_again(engine: AsyncEngine, send: Any, report: Any) -> None:
    async with node(engine) as oban:
        batch = Batch([send.new(n) for n in (-1, 0)], **callbacks(report))
        await commit(engine, batch)
        await eventually(lambda: len(called) == 3)
        await all_done(engine)
        assert await oban.retry(batch) == 1
        await eventually(lambda: _finished(engine))
        await all_done(engine)
    assert await callback_counts(engine) == {"attempted": 1, "discarded": 1, "exhausted": 1}


async def test_a_batch_is_cancelled_and_deleted_with_its_jobs(engine: AsyncEngine, send: Any) -> None:
    oban = Oban(engine)
    batch = Batch([send.new(n) for n in range(3)])
    await commit(engine, batch)
    assert await oban.cancel(batch) == 3
    assert await oban.retry(batch) == 3
    assert await oban.delete(batch) == 3
    assert await execute(engine, "SELECT count(*) FROM oban_batches") == [(0,)]
    with pytest.raises(InvalidOption, match="has not been enqueued"):
        await oban.cancel(Batch([send.new(1)]))


async def test_a_batch_is_pruned_whole_by_the_time_at_which_it_finished(engine: AsyncEngine, send: Any) -> None:
    old, young = (Batch([send.new(n) for n in range(3)]) for _ in range(2))
    await commit(engine, old, young)
    ago = "timezone('UTC', now()) - '2 h'::interval"
    await execute(engine, f"UPDATE oban_jobs SET state = 'completed', completed_at = {ago}")
    for batch, age in ((old, "90 min"), (young, "1 min")):
        finished_at = f"timezone('UTC', now()) - '{age}'::interval"
        await execute(engine, f"UPDATE oban_batches SET finished_at = {finished_at} WHERE id = {batch.id}")
    policies = [Prune.Policy(state="completed", max_count=0)]
    async with node(engine, prune=Prune(max_age=3_600, policies=policies, interval=0.1)):
        await eventually(lambda: _is_pruned(engine))
    assert await execute(engine, "SELECT DISTINCT batch_id, count(*) FROM oban_jobs GROUP BY 1") == [(young.id, 3)]


async def test_what_belongs_to_jobs_of_a_batch_is_pruned_and_deleted_with_them(engine: AsyncEngine, send: Any) -> None:
    old, deleted = (Batch([send.new(n) for n in range(2)]) for _ in range(2))
    await commit(engine, old, deleted)
    await execute(engine, "INSERT INTO oban_steps (job_id, name) SELECT id, 'step' FROM oban_jobs")
    await execute(engine, "INSERT INTO oban_progress (job_id, done) SELECT id, 1 FROM oban_jobs")
    ago = "timezone('UTC', now()) - '2 h'::interval"
    await execute(engine, f"UPDATE oban_jobs SET state = 'completed', completed_at = {ago} WHERE batch_id = {old.id}")
    await execute(engine, f"UPDATE oban_batches SET finished_at = {ago} WHERE id = {old.id}")
    assert await Oban(engine).delete(deleted) == 2
    async with node(engine, prune=Prune(max_age=3_600, interval=0.1)):
        await eventually(lambda: _is_gone(engine))
    assert await execute(engine, "SELECT (SELECT count(*) FROM oban_steps), (SELECT count(*) FROM oban_progress)") == [
        (0, 0)
    ]


async def test_a_batch_of_which_all_jobs_are_duplicates_ends_at_once(
    engine: AsyncEngine, send: Any, report: Any
) -> None:
    async with AsyncSession(engine) as session, session.begin():
        session.add(send.options(unique=Unique(), schedule_in=60).new(1))
    async with node(engine):
        await commit(engine, Batch([send.options(unique=Unique()).new(1)], **callbacks(report)))
        await eventually(lambda: len(called) == 3)
    assert sorted(kind for kind, *_ in called) == ["attempted", "completed", "exhausted"]


async def _is_gone(engine: AsyncEngine) -> bool:
    left = "SELECT (SELECT count(*) FROM oban_batches), (SELECT count(*) FROM oban_jobs)"
    return await execute(engine, left) == [(0, 0)]


async def test_callbacks_keep_their_options_and_their_late_arguments(engine: AsyncEngine, send: Any) -> None:
    @job(name="batches.late", chain=Chain(by="worker"), unique=Unique(), queue="quiet")
    async def late(first: int) -> None: ...

    spec = send.new(0)
    batch = Batch(
        [spec], on_exhausted=late.options(priority=3, tags=["a,b"], meta={"x": 1}).new(first=later(lambda: 7)),
    )  # fmt: skip
    async with node(engine):
        await commit(engine, batch)
        await eventually(lambda: _callback(engine))
    [row] = await execute(
        engine,
        "SELECT args, priority, tags, queue, meta ->> 'x', uniq_key IS NOT NULL, chain_key IS NOT NULL, "
        "(meta ->> 'batch_id')::bigint FROM oban_jobs WHERE meta ? 'callback'",
    )
    assert tuple(row) == ({"first": 7}, 3, ["a,b"], "quiet", "1", True, True, batch.id)


async def test_drain_and_inline_mode_run_the_callbacks(any_engine: AsyncEngine, send: Any, report: Any) -> None:
    async with AsyncSession(any_engine) as session:
        session.add(Batch([send.new(n) for n in (-1, 1)], name="drained", **callbacks(report)))
        assert await drain(session) == {"completed": 4, "discarded": 1}
        assert sorted(kind for kind, *_ in called) == ["attempted", "discarded", "exhausted"]
        assert called[0][1:] == ("drained", {"completed": 1, "discarded": 1}, 2)
        called.clear()
        async with mode("inline"):
            session.add(Batch([send.new(1)], **callbacks(report, "completed")))
            await session.flush()
        assert [kind for kind, *_ in called] == ["completed"]


async def test_perform_gives_a_callback_the_batch_of_the_test(send: Any, report: Any) -> None:
    batch = Batch([send.new(1)], name="mine")
    batch.counts = {"completed": 1}
    batch.jobs = []
    with resources({Batch: batch}):
        await perform(report.new(kind="x"))
    assert called == [("x", "mine", {"completed": 1}, 0)]


async def test_a_job_that_is_in_no_batch_and_asks_for_it_is_told_so(engine: AsyncEngine, report: Any) -> None:
    async with node(engine):
        async with AsyncSession(engine) as session, session.begin():
            session.add(report.new(kind="x"))
        await eventually(lambda: _failed(engine))
    [(errors,)] = await execute(engine, "SELECT errors::text FROM oban_jobs")
    assert "is neither in a batch nor the callback of one" in errors


async def test_many_batches_that_end_at_once_on_several_nodes_call_back_once(
    engine: AsyncEngine, database_url: str, send: Any
) -> None:
    """The benchmark does it with 300 batches of 40 jobs on 8 connections."""

    @job(name="batches.once", queue="quiet")
    async def once() -> None: ...

    kinds = ("attempted", "completed", "exhausted")
    batches = [
        Batch([send.new(n) for n in range(10)], **{f"on_{kind}": once.new() for kind in kinds})  # type: ignore[arg-type]
        for _ in range(40)
    ]
    await commit(engine, *batches)
    async with node(engine, node="one"), node(engine, node="two"), node(engine, node="three"):
        await eventually(lambda: _all_finished(engine, 40), timeout=60)
    assert await callback_counts(engine) == {"attempted": 40, "completed": 40, "exhausted": 40}
    each = "(meta ->> 'batch_id', meta ->> 'callback')"
    [(distinct,)] = await execute(engine, f"SELECT count(DISTINCT {each}) FROM oban_jobs WHERE meta ? 'callback'")
    assert distinct == 120


async def _all_finished(engine: AsyncEngine, count: int) -> bool:
    return await execute(engine, "SELECT count(*) FROM oban_batches WHERE finished_at IS NOT NULL") == [(count,)]


async def _finished(engine: AsyncEngine) -> bool:
    return not await execute(engine, "SELECT 1 FROM oban_batches WHERE finished_at IS NULL")


async def _is_pruned(engine: AsyncEngine) -> bool:
    return await execute(engine, "SELECT count(*) FROM oban_batches") == [(1,)]


async def _callback(engine: AsyncEngine) -> bool:
    return bool(await callback_counts(engine))


async def _failed(engine: AsyncEngine) -> bool:
    return bool(await execute(engine, "SELECT 1 FROM oban_jobs WHERE state = 'retryable'"))


async def test_the_end_of_a_batch_is_told_once_by_whichever_node_has_ended_it(engine: AsyncEngine, send: Any) -> None:
    told: list[dict[str, Any]] = []
    telemetry.attach("batches", ["oban.batch.stop"], lambda _, fields: told.append(dict(fields)))
    made = [Batch([send.new(1), send.new(-1)], name=f"mails {n}") for n in range(20)]
    try:
        async with node(engine) as oban, node(engine, name="other"):
            async with AsyncSession(engine) as session, session.begin():
                session.add_all(made)
            await eventually(lambda: _all_told(told, 20))
            assert await oban.retry(made[0]) == 1
            await eventually(lambda: _all_told(told, 21))
        async with AsyncSession(engine) as session:
            session.add(drained := Batch([send.new(3)]))
            await drain(session)
            drained_id = drained.id
    finally:
        telemetry.detach("batches")
    ids = [batch.id for batch in made]
    assert sorted(fields["batch_id"] for fields in told[:20]) == ids
    assert [fields["batch_id"] for fields in told[20:]] == [ids[0], drained_id]
    assert told[0]["name"].startswith("mails")
    assert told[0]["states"] == {"completed": 1, "discarded": 1}
    assert 0 <= told[0]["duration"] < 60


async def test_a_batch_that_is_reopened_and_ends_before_a_node_looks_has_ended_again(
    engine: AsyncEngine, send: Any
) -> None:
    told: list[Any] = []
    telemetry.attach("batches", ["oban.batch.stop"], lambda _, fields: told.append(fields["states"]))
    batch = Batch([send.new(-1)])
    try:
        async with node(engine) as oban:
            await commit(engine, batch)
            await eventually(lambda: len(told) == 1)
            before = await execute(engine, "SELECT finished_at FROM oban_batches")
            async with engine.connect() as holder:
                await holder.execute(select(Batch.id).with_for_update())
                assert await oban.retry(batch) == 1
                await eventually(lambda: _both_are_news(engine))
                assert len(told) == 1
            await eventually(lambda: len(told) == 2)
    finally:
        telemetry.detach("batches")
    assert told == [{"discarded": 1}] * 2
    assert await execute(engine, "SELECT finished_at FROM oban_batches") > before


async def _both_are_news(engine: AsyncEngine) -> bool:
    found = await execute(engine, "SELECT state FROM oban_news ORDER BY id")
    return found == [("available",), ("discarded",)]


async def _all_told(told: list[dict[str, Any]], number: int) -> bool:
    return len(told) >= number
