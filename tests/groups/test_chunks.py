"""Chunks: one call for many jobs, one slot, and an outcome for each job."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from oban_sqla import (
    Cancel,
    Chunk,
    Discard,
    InvalidOption,
    Job,
    JobSpec,
    Oban,
    Queue,
    Resource,
    Snooze,
    Workflow,
    current_job,
    enqueue_from,
    injected,
    job,
    telemetry,
)
from tests.limits.helpers import QUICK, add, all_done
from tests.runtime.helpers import execute
from tests.support import eventually

calls: list[list[int]] = []
"""The args ``n`` of the jobs of each call."""


@pytest.fixture(autouse=True)
def _fresh() -> None:
    calls.clear()


@asynccontextmanager
async def node(engine: AsyncEngine, limit: int = 10, **options: Any) -> AsyncGenerator[Oban, None]:
    queue = Queue(limit=limit, **{name: options.pop(name) for name in ("global_limit",) if name in options})
    async with Oban(engine, queues={"default": queue}, **QUICK | options) as oban:
        yield oban


async def states(engine: AsyncEngine) -> dict[int, str]:
    """The state of each job by its ``n``."""
    rows = await execute(engine, "SELECT (args ->> 'n')::int, state::text FROM oban_jobs")
    return dict(tuple(row) for row in rows)


def note(jobs: list[Job]) -> None:
    calls.append([one.args["n"] for one in jobs])


async def test_jobs_that_wait_run_in_one_call_and_in_order(any_engine: AsyncEngine) -> None:
    @job(chunk=Chunk(size=50, timeout=30))
    async def deliver(jobs: list[Job]) -> None:
        note(jobs)

    await add(any_engine, [deliver.new({"n": n}) for n in range(100)])
    async with node(any_engine, limit=3):
        await all_done(any_engine)
    assert calls == [list(range(50)), list(range(50, 100))]


async def test_a_chunk_takes_one_slot_and_fetches_by_itself_when_there_is_no_room(engine: AsyncEngine) -> None:
    @job(chunk=Chunk(size=20, timeout=30))
    async def deliver(jobs: list[Job]) -> None:
        note(jobs)

    async with node(engine, limit=1) as oban:
        await add(engine, [deliver.new({"n": 0})], oban)
        await eventually(lambda: bool(_running(oban)))
        await add(engine, [deliver.new({"n": n}) for n in range(1, 20)], oban)
        await all_done(engine)
    assert calls == [list(range(20))]


@pytest.mark.parametrize("waits", [False, True])
async def test_nodes_of_a_workflow_run_in_one_call_when_there_is_no_room(engine: AsyncEngine, waits: bool) -> None:
    @job(chunk=Chunk(size=20, timeout=30, by="args.even"))
    async def deliver(jobs: list[Job]) -> None:
        note(jobs)

    flow = Workflow("delivery")
    first = flow.add(begin.new(), name="first")
    for n in range(0, 40, 2):
        flow.add(deliver.new({"n": n, "even": True}), name=f"{n}", after=[first] if waits else ())
    async with AsyncSession(engine) as session, session.begin():
        session.add(flow)
    async with node(engine, limit=1):
        await all_done(engine)
    assert calls == [list(range(0, 40, 2))]


@job
async def begin() -> bool:
    return True


async def test_a_chunk_that_is_not_full_begins_after_its_timeout(engine: AsyncEngine) -> None:
    @job(chunk=Chunk(size=100, timeout=0.05))
    def deliver(jobs: list[Job]) -> None:
        assert threading.current_thread() is not threading.main_thread()
        note(jobs)

    await add(engine, [deliver.new({"n": n}) for n in range(3)])
    async with node(engine):
        await all_done(engine)
    assert calls == [[0, 1, 2]]


async def test_each_job_gets_its_own_outcome_and_the_others_are_completed(engine: AsyncEngine) -> None:
    @job(chunk=Chunk(size=6, timeout=30), max_attempts=5)
    async def deliver(jobs: list[Job]) -> Mapping[Job, object]:
        outcomes: list[object] = [None, Snooze(60), Cancel("no"), Discard("never"), ValueError("bad"), "value"]
        return {one: outcomes[one.args["n"]] for one in jobs if one.args["n"] != 0}

    await add(engine, [deliver.new({"n": n}) for n in range(6)])
    async with node(engine):
        await eventually(lambda: _none(engine, "executing', 'available"))
    assert await states(engine) == {
        0: "completed", 1: "scheduled", 2: "cancelled", 3: "discarded", 4: "retryable", 5: "completed",
    }  # fmt: skip
    [(errors,)] = await execute(engine, "SELECT errors::text FROM oban_jobs WHERE args ->> 'n' = '4'")
    assert "ValueError: bad" in errors


@pytest.mark.parametrize("wrong", ["key", "value"])
async def test_a_result_that_does_not_map_its_jobs_fails_all_of_them(engine: AsyncEngine, wrong: str) -> None:
    @job(chunk=Chunk(size=2, timeout=30))
    async def deliver(jobs: list[Job]) -> Any:
        return {jobs[0].id: Snooze(5)} if wrong == "key" else [jobs[0]]

    await add(engine, [deliver.new({"n": n}) for n in range(2)])
    async with node(engine):
        await eventually(lambda: _none(engine, "executing', 'available"))
    assert set((await states(engine)).values()) == {"retryable"}
    [(errors,), _] = await execute(engine, "SELECT errors::text FROM oban_jobs")
    assert "InvalidOption" in errors


async def test_an_exception_fails_all_jobs_and_they_run_together_again(engine: AsyncEngine) -> None:
    @job(chunk=Chunk(size=3, timeout=30), backoff=0.0)
    async def deliver(jobs: list[Job]) -> None:
        note(jobs)
        if len(calls) == 1:
            raise RuntimeError("down")

    await add(engine, [deliver.new({"n": n}) for n in range(3)])
    async with node(engine):
        await all_done(engine)
    assert calls == [[0, 1, 2], [0, 1, 2]]
    assert await execute(engine, "SELECT DISTINCT attempt FROM oban_jobs") == [(2,)]


async def test_a_chunk_that_can_not_begin_fails_its_jobs_apart_from_those_past_their_deadline(
    engine: AsyncEngine,
) -> None:
    class Client: ...

    def no_client() -> Client:
        raise ValueError("no client")

    @job(chunk=Chunk(size=3, timeout=30), deadline=60)
    async def deliver(jobs: list[Job], client: Client = injected()) -> None:
        note(jobs)

    await add(engine, [deliver.new({"n": n}) for n in range(3)])
    await execute(
        engine, "UPDATE oban_jobs SET scheduled_at = scheduled_at - interval '1 hour' WHERE args ->> 'n' = '1'"
    )
    async with node(engine, resources={Client: Resource(no_client, scope="job")}):
        await eventually(lambda: _none(engine, "executing', 'available"))
    assert await states(engine) == {0: "retryable", 1: "cancelled", 2: "retryable"}
    assert calls == []


async def test_only_jobs_with_the_same_key_run_together(engine: AsyncEngine) -> None:
    @job(chunk=Chunk(size=10, timeout=0.2, by=["args.tenant", "meta.region"]))
    async def deliver(jobs: list[Job]) -> None:
        assert len({(one.args.get("tenant"), one.meta.get("region")) for one in jobs}) == 1
        note(jobs)

    specs = [deliver.new({"n": n, "tenant": n % 2}, meta={"region": "eu"} if n < 8 else None) for n in range(12)]
    await add(engine, specs)
    async with node(engine):
        await all_done(engine)
    assert sorted(map(sorted, calls)) == [[0, 2, 4, 6], [1, 3, 5, 7], [8, 10], [9, 11]]


async def test_in_the_limit_of_the_cluster_each_job_of_a_chunk_counts(engine: AsyncEngine) -> None:
    @job(chunk=Chunk(size=100, timeout=0.2))
    async def deliver(jobs: list[Job]) -> None:
        note(jobs)

    await add(engine, [deliver.new({"n": n}) for n in range(12)])
    async with node(engine, limit=1, global_limit=5):
        await all_done(engine)
    assert 1 < max(map(len, calls)) <= 5, "one slot of the node, five of the cluster"
    assert sorted(n for call in calls for n in call) == list(range(12))


@pytest.mark.parametrize("kind", [AsyncSession, Session])
async def test_the_effects_and_all_outcomes_are_one_commit(
    engine: AsyncEngine, kind: type[Any], sync_engine: Engine
) -> None:
    @job(name="chunks.write", chunk=Chunk(size=3, timeout=30))
    async def write(jobs: list[Job], session: AsyncSession) -> Mapping[Job, object]:
        for one in jobs:
            await session.execute(text("INSERT INTO effects VALUES (:n)"), {"n": one.args["n"]})
        return {jobs[1]: Snooze(60), jobs[2]: Cancel("no")}

    @job(name="chunks.write_plainly", chunk=Chunk(size=3, timeout=30))
    def write_plainly(jobs: list[Job], session: Session) -> Mapping[Job, object]:
        for one in jobs:
            session.execute(text("INSERT INTO effects VALUES (:n)"), {"n": one.args["n"]})
        return {jobs[1]: Snooze(60), jobs[2]: Cancel("no")}

    made = write if kind is AsyncSession else write_plainly
    makers: Any = [async_sessionmaker(engine), sessionmaker(sync_engine)]
    await execute(engine, "CREATE TABLE IF NOT EXISTS effects (n int)")
    try:
        await add(engine, [JobSpec(made, {"n": n}) for n in range(3)])
        async with node(engine, sessionmaker=makers):
            await eventually(lambda: _none(engine, "executing', 'available"))
        assert await states(engine) == {0: "completed", 1: "scheduled", 2: "cancelled"}
        assert sorted(await execute(engine, "SELECT n FROM effects")) == [(0,), (1,), (2,)]
        assert (
            len(set(await execute(engine, "SELECT xmin::text FROM effects UNION ALL SELECT xmin::text FROM oban_jobs")))
            == 1
        )
    finally:
        await execute(engine, "DROP TABLE effects")


async def test_a_job_that_another_run_has_takes_the_effects_back_and_the_others_run_again(engine: AsyncEngine) -> None:
    @job(chunk=Chunk(size=2, timeout=30))
    async def write(jobs: list[Job], session: AsyncSession) -> None:
        note(jobs)
        await session.execute(text("INSERT INTO effects SELECT 1"))
        if len(calls) == 1:
            await execute(engine, f"UPDATE oban_jobs SET state = 'cancelled' WHERE id = {jobs[0].id}")

    await execute(engine, "CREATE TABLE IF NOT EXISTS effects (n int)")
    try:
        await add(engine, [JobSpec(write, {"n": n}) for n in range(2)])
        async with node(engine, sessionmaker=async_sessionmaker(engine)) as oban:
            await eventually(lambda: len(calls) == 1)
            await add(engine, [JobSpec(write, {"n": 2})], oban)
            await all_done(engine)
        assert calls == [[0, 1], [1, 2]]
        assert await execute(engine, "SELECT count(*) FROM effects") == [(1,)]
        assert await execute(engine, "SELECT attempt FROM oban_jobs WHERE args ->> 'n' = '1'") == [(1,)]
    finally:
        await execute(engine, "DROP TABLE effects")


async def test_a_cancelled_job_leaves_the_chunk_and_the_call_goes_on_for_the_others(engine: AsyncEngine) -> None:
    gate = asyncio.Event()

    @job(chunk=Chunk(size=3, timeout=30))
    async def deliver(jobs: list[Job]) -> None:
        note(jobs)
        await gate.wait()
        stopped.extend(job.args["n"] for job in jobs if job.cancelled())

    stopped: list[int] = []
    ids = await add(engine, [deliver.new({"n": n}) for n in range(3)])
    async with node(engine) as oban:
        await eventually(lambda: bool(calls))
        assert await oban.cancel(ids[1])
        await eventually(lambda: any(ids[1] in run.revoked for run in _running(oban)))
        gate.set()
        await all_done(engine)
    assert await states(engine) == {0: "completed", 1: "cancelled", 2: "completed"}
    assert stopped == [1]


async def test_a_chunk_of_which_all_jobs_are_cancelled_is_stopped(engine: AsyncEngine) -> None:
    @job(chunk=Chunk(size=2, timeout=30))
    async def deliver(jobs: list[Job]) -> None:
        note(jobs)
        await asyncio.Event().wait()

    ids = await add(engine, [deliver.new({"n": n}) for n in range(2)])
    async with node(engine) as oban:
        await eventually(lambda: bool(calls))
        for job_id in ids:
            await oban.cancel(job_id)
        await all_done(engine)
    assert set((await states(engine)).values()) == {"cancelled"}


async def test_a_job_that_is_cancelled_while_the_chunk_collects_does_not_run(engine: AsyncEngine) -> None:
    @job(chunk=Chunk(size=3, timeout=30))
    async def deliver(jobs: list[Job]) -> None:
        note(jobs)

    async with node(engine) as oban:
        [first, second] = await add(engine, [deliver.new({"n": n}) for n in range(2)], oban)
        await eventually(lambda: any({first, second} <= set(run.ids) for run in _running(oban)))
        await oban.cancel(first)
        await eventually(lambda: any(first in getattr(run, "revoked", ()) for run in _running(oban)))
        await add(engine, [deliver.new({"n": 2})], oban)
        await all_done(engine)
    assert calls == [[1, 2]]
    assert await states(engine) == {0: "cancelled", 1: "completed", 2: "completed"}


async def test_the_timeout_of_the_worker_holds_for_the_call(engine: AsyncEngine) -> None:
    @job(chunk=Chunk(size=2, timeout=30), timeout=0.05)
    async def deliver(jobs: list[Job]) -> None:
        await asyncio.Event().wait()

    await add(engine, [deliver.new({"n": n}) for n in range(2)])
    async with node(engine):
        await eventually(lambda: _none(engine, "executing', 'available"))
    rows = await execute(engine, "SELECT errors::text FROM oban_jobs")
    assert ["JobTimeout" in errors for (errors,) in rows] == [True, True]


async def test_a_node_that_stops_gives_back_what_it_collects(engine: AsyncEngine) -> None:
    @job(chunk=Chunk(size=3, timeout=3_000))
    async def deliver(jobs: list[Job]) -> None:
        note(jobs)

    await add(engine, [deliver.new({"n": n}) for n in range(2)])
    async with node(engine) as oban:
        await eventually(lambda: any(len(run.ids) == 2 for run in _running(oban)))
    assert await execute(engine, "SELECT state::text, attempt FROM oban_jobs") == [("available", 0)] * 2
    assert calls == []


async def test_hooks_and_telemetry_see_each_job_and_the_chunk(engine: AsyncEngine) -> None:
    seen: list[tuple[str, int, str]] = []

    class Note:
        def before(self, one: Job) -> None:
            seen.append(("before", one.args["n"], ""))

        def after(self, one: Job, state: str, error: BaseException | None) -> None:
            seen.append(("after", one.args["n"], state))

    @job(chunk=Chunk(size=2, timeout=30), hooks=[Note()], name="chunks.seen")
    async def deliver(jobs: list[Job]) -> Mapping[Job, object]:
        assert current_job() in jobs
        return {jobs[1]: Cancel("no")}

    events: list[Mapping[str, Any]] = []
    ends: list[int] = []
    telemetry.attach("chunks", ["oban.chunk.stop"], lambda _, fields: events.append(fields))
    telemetry.attach("chunks", ["oban.job.stop"], lambda _, fields: ends.append(fields["job_id"]))
    try:
        ids = await add(engine, [deliver.new({"n": n}) for n in range(2)])
        async with node(engine):
            await all_done(engine)
    finally:
        telemetry.detach("chunks")
    assert seen == [("before", 0, ""), ("before", 1, ""), ("after", 0, "completed"), ("after", 1, "cancelled")]
    assert ends == ids
    [event] = events
    assert event["count"] == 2
    assert event["states"] == {"completed": 1, "cancelled": 1}
    assert event["worker"] == "chunks.seen"


async def test_rows_of_a_query_run_in_chunks_too(engine: AsyncEngine) -> None:
    @job(chunk=Chunk(size=10, timeout=30, by="args.odd"))
    async def deliver(jobs: list[Job]) -> None:
        note(jobs)

    numbers = select(func.generate_series(0, 19).label("n")).subquery()
    query = select(numbers.c.n, (numbers.c.n % 2).label("odd"))
    async with AsyncSession(engine) as session, session.begin():
        assert await enqueue_from(session, deliver, query) == 20
    async with node(engine, limit=1):
        await all_done(engine)
    assert sorted(map(sorted, calls)) == [list(range(0, 20, 2)), list(range(1, 20, 2))]


async def test_a_chunk_gets_its_resources_and_its_runtime(engine: AsyncEngine) -> None:
    seen: list[object] = []

    @job(chunk=Chunk(size=2, timeout=30))
    async def deliver(jobs: list[Job], oban: Oban, mailer: Mailer = injected()) -> None:
        seen.extend((len(jobs), oban, mailer))

    mailer = Mailer()
    await add(engine, [deliver.new({"n": n}) for n in range(2)])
    async with node(engine, resources={Mailer: lambda: mailer}) as oban:
        await all_done(engine)
    assert seen == [2, oban, mailer]


class Mailer:
    """What a job asks for."""


def test_what_is_not_a_chunk_is_refused_where_it_is_written() -> None:
    with pytest.raises(InvalidOption, match="size must be a number of jobs from 1 to 10,000, got 0"):
        Chunk(size=0)
    with pytest.raises(InvalidOption, match="timeout must be at most 3600"):
        Chunk(timeout=4_000)
    with pytest.raises(InvalidOption, match='Chunk: by must be "worker", "args'):
        Chunk(by="tenant")
    with pytest.raises(InvalidOption, match="takes the list of its jobs"):
        job(chunk=Chunk())(of_order)  # type: ignore[arg-type]

    with pytest.raises(InvalidOption, match="a function takes several jobs with chunk= only"):

        @job
        async def several(jobs: list[Job]) -> None: ...

    with pytest.raises(InvalidOption, match="run on the event loop or in a thread, not with executor='process'"):

        @job(chunk=Chunk(), executor="process")
        def elsewhere(jobs: list[Job]) -> None: ...

    with pytest.raises(InvalidOption, match=r"chunk must be Chunk\(size=…, timeout=…\), got 5"):
        job(chunk=5)(several_jobs)  # type: ignore[call-overload]


async def several_jobs(jobs: list[Job]) -> None: ...


async def of_order(order: int) -> None: ...


def _running(oban: Oban) -> list[Any]:
    assert oban._node is not None
    return [run for producer in oban._node.producers.values() for run in producer.running.values()]


async def _none(engine: AsyncEngine, states: str) -> bool:
    return not await execute(engine, f"SELECT 1 FROM oban_jobs WHERE state::text IN ('{states}')")
