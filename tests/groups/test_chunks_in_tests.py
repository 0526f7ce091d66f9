"""Chunks in drain, in inline mode and in perform."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from oban_sqla import Batch, Cancel, Chunk, Job, Oban, Snooze, Workflow, job
from oban_sqla.testing import drain, mode, perform
from tests.support import eventually


async def test_drain_runs_the_jobs_of_a_chunk_in_one_call(any_engine: AsyncEngine) -> None:
    calls: list[list[int]] = []

    @job(chunk=Chunk(size=3, by="args.odd"))
    async def deliver(jobs: list[Job], session: AsyncSession) -> Mapping[Job, object]:
        calls.append([one.args["n"] for one in jobs])
        return {one: Snooze(60) for one in jobs if one.args["n"] == 4}

    async with AsyncSession(any_engine) as session:
        session.add_all(deliver.new({"n": n, "odd": n % 2}) for n in range(8))
        drained = await drain(session)
        assert drained == {"completed": 7, "scheduled": 1}
        assert calls == [[0, 2, 4], [1, 3, 5], [6], [7]]
        assert await drain(session) == {}


@pytest.mark.parametrize("how", ["node", "drain"])
async def test_jobs_of_two_batches_share_no_call_that_asks_for_its_batch(
    engine: AsyncEngine, clean_tables: None, how: str
) -> None:
    calls: list[tuple[str | None, list[int]]] = []

    @job(chunk=Chunk(size=10, timeout=0.1))
    async def deliver(jobs: list[Job], batch: Batch) -> None:
        calls.append((batch.name, sorted(each.args["n"] for each in jobs)))

    async with AsyncSession(engine) as session:
        for name, first in (("a", 0), ("b", 2)):
            session.add(Batch([deliver.new({"n": n}) for n in (first, first + 1)], name=name))
        if how == "drain":
            assert await drain(session) == {"completed": 4}
        await session.commit()
    if how == "node":
        async with Oban(engine, queues={"default": 10}):
            await eventually(lambda: len(calls) == 2)
    assert sorted(calls) == [("a", [0, 1]), ("b", [2, 3])]


async def test_what_is_known_of_a_job_later_decides_about_its_chunk(engine: AsyncEngine, clean_tables: None) -> None:
    calls: list[list[object]] = []

    @job(chunk=Chunk(size=4, by="args.kind"))
    async def deliver(jobs: list[Job]) -> None:
        calls.append([one.args["kind"] for one in jobs])

    @job
    async def kind(name: str) -> str:
        return name

    flow = Workflow("kinds")
    for n, name in enumerate("abb"):
        flow.add(deliver.new({"kind": flow.add(kind.new(name), name=f"kind {n}").result}), name=f"{n}")
    async with AsyncSession(engine) as session:
        session.add(flow)
        assert await drain(session) == {"completed": 6}
        assert sorted(calls) == [["a"], ["b"], ["b"]], "their keys were not known when they were written"
        calls.clear()
        session.add_all(specs := [deliver.new({"kind": "a"}) for _ in range(3)])
        await session.flush()
        assert await Oban(engine).update(specs[1], args={"kind": "b"}, session=session) == 1
        assert await drain(session) == {"completed": 3}
        assert sorted(calls) == [["a", "a"], ["b"]]


def test_drain_runs_a_chunk_of_a_plain_function(sync_engine: object) -> None:
    @job(chunk=Chunk(size=10))
    def deliver(jobs: list[Job], session: Session) -> Mapping[Job, object]:
        return {jobs[0]: Cancel("no"), jobs[1]: ValueError("bad")}

    with Session(sync_engine) as session:  # type: ignore[arg-type]
        session.add_all(deliver.new({"n": n}) for n in range(3))
        drained = drain(session)
        assert drained == {"cancelled": 1, "retryable": 1, "completed": 1}


async def test_inline_the_jobs_of_one_flush_run_in_chunks(engine: AsyncEngine) -> None:
    calls: list[int] = []

    @job(chunk=Chunk(size=2))
    async def deliver(jobs: list[Job]) -> None:
        calls.append(len(jobs))

    async with AsyncSession(engine) as session, mode("inline"):
        session.add_all(deliver.new({"n": n}) for n in range(5))
        await session.flush()
        assert calls == [2, 2, 1]
        assert set(await session.scalars(select(Job.state))) == {"completed"}


async def test_perform_gives_the_function_a_list_of_one(engine: AsyncEngine) -> None:
    @job(chunk=Chunk(size=2))
    async def deliver(jobs: list[Job]) -> Mapping[Job, object] | None:
        [one] = jobs
        if one.args["n"] == 1:
            return {one: KeyError("one")}
        return None

    assert await perform(deliver.new({"n": 0})) is None
    with pytest.raises(KeyError):
        await perform(deliver, {"n": 1})
