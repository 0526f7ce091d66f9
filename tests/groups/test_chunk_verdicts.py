"""What a function with chunk= returns for each of its jobs: their results, and errors that it names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from oban_sqla import (
    Cancel,
    Chunk,
    Hook,
    InvalidOption,
    Job,
    JobState,
    Record,
    Resource,
    Snooze,
    Workflow,
    injected,
    job,
)
from oban_sqla.runtime.chunk_attempt import ChunkAttempt, attempt_of
from oban_sqla.runtime.chunks import Chunks
from oban_sqla.runtime.executors.inline import Inline
from oban_sqla.runtime.sessions import Sessions
from oban_sqla.runtime.verdict import Stop
from oban_sqla.testing import perform
from tests.groups.test_chunks import node
from tests.limits.helpers import add
from tests.runtime.helpers import fetched, load
from tests.support import eventually


@job(recorded=True)
async def double(number: int) -> int:
    return number * 2


async def test_each_job_of_a_chunk_has_a_result(engine: AsyncEngine, clean_tables: None) -> None:
    @job(chunk=Chunk(timeout=0.01), recorded=True)
    async def values(jobs: list[Job]) -> Mapping[Job, object] | None:
        return {one: {"n": one.args["n"]} for one in jobs}

    @job(chunk=Chunk(timeout=0.01))
    async def records(jobs: list[Job]) -> Mapping[Job, object]:
        return {one: Record(one.args["n"]) for one in jobs}

    @job(chunk=Chunk(timeout=0.01))
    async def verdicts(jobs: list[Job]) -> dict[Job, Cancel | Snooze | ValueError] | None:
        return None

    @job(chunk=Chunk(timeout=0.01))
    async def forgets(jobs: list[Job]) -> dict[Job, int]:
        return dict.fromkeys(jobs, 1)

    specs = [values.new({"n": 1}), records.new({"n": 2}), verdicts.new(), forgets.new()]
    await add(engine, specs)
    async with node(engine) as oban:
        assert [await oban.result(spec) for spec in specs[:3]] == [{"n": 1}, 2, None]
        with pytest.raises(InvalidOption, match=r"records none; write @job\(recorded=True\)"):
            await oban.result(specs[3])
    assert list((await perform(specs[0])).values()) == [{"n": 1}]


async def test_the_result_of_a_job_of_a_chunk_is_an_argument_in_a_workflow(
    engine: AsyncEngine, clean_tables: None
) -> None:
    @job(chunk=Chunk(timeout=0.01))
    async def values(jobs: list[Job]) -> Mapping[Job, object] | None:
        return {one: one.args["n"] for one in jobs}

    flow = Workflow("chunked")
    flow.returns(flow.add(double.new(flow.add(values.new({"n": 4})).result)))
    async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
        session.add(flow)
    async with node(engine) as oban:
        assert await oban.result(flow) == 8


async def test_what_is_opened_for_a_call_fails_where_no_job_keeps_its_effects(
    engine: AsyncEngine, clean_tables: None
) -> None:
    class Notes(Hook):
        async def after(self, job: Job, state: str, error: BaseException | None) -> None:
            told.append((state, type(error)))

    told: list[Any] = []

    def opens() -> Iterator[Ledger]:
        try:
            yield Ledger()
        except BaseException as error:
            told.append(type(error))
            raise
        told.append("closed")

    @job(chunk=Chunk(timeout=0.05), hooks=[Notes()])
    async def verdicts(jobs: list[Job], ledger: Ledger = injected()) -> Mapping[Job, object]:
        return {one: OUTCOMES[one.args["n"]] for one in jobs}

    async def calls(*names: str) -> list[Any]:
        told.clear()
        await add(engine, [verdicts.new({"n": name}) for name in names])
        return await eventually(lambda: told if len(told) > len(names) else None)

    async with node(engine, resources={Ledger: Resource(opens, scope="job")}):
        assert await calls("error", "none") == ["closed", ("retryable", ValueError), ("completed", type(None))]
        assert await calls("snooze") == ["closed", ("scheduled", type(None))]
        assert await calls("cancel") == ["closed", ("cancelled", type(None))]
        assert await calls("error") == [ValueError, ("retryable", ValueError)]


class Ledger:
    """What is opened for a call."""


OUTCOMES = {"error": ValueError("no address"), "none": None, "snooze": Snooze(600), "cancel": Cancel("no")}


async def test_an_error_that_is_returned_for_a_job_is_judged_as_one_that_is_raised(
    engine: AsyncEngine, clean_tables: None
) -> None:
    @job(chunk=Chunk(timeout=0.01), discard_for=(ValueError,))
    async def discards(jobs: list[Job]) -> Mapping[Job, Exception]:
        return {one: ValueError("no address") if one.args["n"] else TimeoutError("later") for one in jobs}

    @job(chunk=Chunk(timeout=0.01), retry_for=(TimeoutError,))
    async def retries(jobs: list[Job]) -> Mapping[Job, Exception]:
        return {one: ValueError("no address") if one.args["n"] else TimeoutError("later") for one in jobs}

    specs = [worker.new({"n": n}) for worker in (discards, retries) for n in (0, 1)]
    await add(engine, specs)

    async def states() -> list[JobState]:
        found = [(await load(engine, spec.id)).state for spec in specs if spec.id is not None]
        assert not {"available", "executing"} & set(found), found
        return found

    async with node(engine):
        assert await eventually(states) == ["retryable", "discarded", "retryable", "discarded"]


@job(name="verdicts.collects", chunk=Chunk(size=2))
async def collects(jobs: list[Job]) -> None: ...


def test_a_chunk_that_collects_no_more_takes_no_job_and_keeps_none_from_the_next_one() -> None:
    rows = [fetched("verdicts.collects", id=number) for number in range(4)]
    sessions = Sessions(makers=(), blocking=Inline().do)
    first, second = (attempt_of(row, executors={}, sessions=sessions) for row in rows[:2])
    assert isinstance(first, ChunkAttempt)
    assert isinstance(second, ChunkAttempt)
    chunks = Chunks()
    chunks.began(first)
    with pytest.raises(TimeoutError), chunks.looking(first):
        raise TimeoutError  # there may be more: it is looked for again
    assert chunks.to_fill() is first
    first.ask_to_stop(Stop.CANCEL)
    assert not chunks.joins(rows[1])
    chunks.began(second)
    chunks.begins(first)
    assert chunks.joins(rows[2])
    assert (first.ids, second.ids) == ([0], [1, 2])
    assert not chunks.joins(rows[3])
