"""What a function with chunk= returns for each of its jobs: their results, and errors that it names."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from oban_sqla import (
    Cancel,
    Chunk,
    Hook,
    InvalidOption,
    Job,
    JobSpec,
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
from oban_sqla.runtime.host import Host
from oban_sqla.runtime.sessions import Sessions
from oban_sqla.runtime.verdict import Stop
from oban_sqla.testing import drain, perform
from tests.groups.test_chunks import node
from tests.limits.helpers import add
from tests.runtime.helpers import fetched, load
from tests.support import eventually


@job(recorded=True)
async def double(number: int) -> int:
    return number * 2


@job(recorded=True)
async def total(numbers: list[int | None]) -> list[int | None]:
    return numbers


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


@pytest.mark.parametrize("how", ["node", "node with a session", "drain"])
async def test_a_workflow_that_is_returned_for_a_job_takes_its_place(
    engine: AsyncEngine, clean_tables: None, how: str
) -> None:
    def planned(jobs: list[Job]) -> Mapping[Job, object]:
        outcomes: dict[Job, object] = {}
        for one in jobs:
            flow = outcomes[one] = Workflow("planned")
            flow.returns(flow.add(double.new(one.args["n"])))
        return outcomes | {jobs[2]: 3, jobs[3]: ValueError("no plan")}

    @job(chunk=Chunk(size=4, timeout=5), max_attempts=1)
    async def plans(jobs: list[Job]) -> Mapping[Job, object]:
        return planned(jobs)

    @job(chunk=Chunk(size=4, timeout=5), max_attempts=1)
    async def plans_in_session(jobs: list[Job], session: AsyncSession = injected()) -> Mapping[Job, object]:
        return planned(jobs)

    flow = Workflow("chunked")
    made = plans_in_session if how == "node with a session" else plans
    nodes = [flow.add(made.new({"n": n}), name=f"plan {n}") for n in range(1, 5)]
    flow.returns(flow.add(total.new([each.result for each in nodes]), on_failure="ignore"))
    async with AsyncSession(engine, expire_on_commit=False) as session:
        session.add(flow)
        await session.commit()
        if how == "drain":
            await drain(session)
            await session.commit()
    async with node(engine, sessionmaker=async_sessionmaker(engine)) as oban:
        assert await oban.result(flow) == [2, 4, 3, None]
    ended = [(await load(engine, each.id)).state for each in nodes if each.id is not None]
    assert ended == ["completed", "completed", "completed", "discarded"]


@pytest.mark.parametrize("wrong", [ValueError, asyncio.sleep], ids=["the class of an error", "a coroutine"])
async def test_an_outcome_that_says_nothing_fails_its_job(
    engine: AsyncEngine, clean_tables: None, wrong: Callable[..., object]
) -> None:
    @job(chunk=Chunk(size=2, timeout=5))
    async def deliver(jobs: list[Job]) -> Mapping[Job, object]:
        coroutine.append(made := wrong if isinstance(wrong, type) else wrong(0))
        return {jobs[0]: made}

    coroutine: list[Any] = []
    specs = [deliver.new({"n": n}) for n in range(2)]
    await add(engine, specs)
    async with node(engine):
        first, second = await eventually(lambda: _ended(engine, specs))
    assert (first.state, second.state) == ("retryable", "completed")
    assert re.search("the class ValueError|a coroutine, of which nothing has run", first.errors[0]["error"])
    for each in coroutine:
        getattr(each, "close", int)()


async def _ended(engine: AsyncEngine, specs: list[JobSpec[Any]]) -> list[Job] | None:
    found = [await load(engine, spec.id) for spec in specs if spec.id is not None]
    return found if all(one.state not in ("available", "executing") for one in found) else None


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
    host = Host({}, Sessions(makers=(), blocking=Inline().do))
    first, second = (attempt_of(host, row) for row in rows[:2])
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
