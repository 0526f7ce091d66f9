"""What a workflow returns, how it is run in tests, why its jobs wait, and how it is pruned."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pydantic import BaseModel
from sqlalchemy import create_engine, make_url, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from oban_sqla import (
    Batch,
    Cancel,
    InvalidOption,
    Job,
    JobCancelled,
    JobDiscarded,
    Oban,
    Prune,
    Queue,
    Workflow,
    flow_of,
    job,
)
from oban_sqla.control import flow_results
from oban_sqla.control.flow_results import edge
from oban_sqla.runtime import waiter
from oban_sqla.statements.flows import first_failure
from oban_sqla.testing import drain, mode
from tests.flows.test_workflows import QUEUE, commit, ended, fails, fetch, load_user, note, parse, plan, ran, store
from tests.runtime.helpers import execute, insert
from tests.support import eventually


class SimplePage(BaseModel):
    number: int


def pages() -> tuple[Workflow, Any]:
    flow = Workflow("pages")
    user = flow.add(load_user.new(7), name="user")
    found = flow.add(fetch.new(url=user.result["homepage"]))
    parts = flow.map(lambda page: parse.new(page, lang="de"), over=found.result, name="parts")
    planned: Any = flow.add(plan.new(2), name="plan", after=[parts])
    flow.returns(flow.add(store.new([parts.results[0], planned.result])))
    return flow, parts


async def test_the_result_of_a_workflow_is_that_of_the_node_it_returns(engine: AsyncEngine) -> None:
    flow, parts = pages()
    failing = Workflow("failing")
    failing.returns(failing.add(fails.new()))
    await commit(engine, flow, failing)
    async with Oban(engine, queues={QUEUE: 5}) as oban:
        assert await oban.result(flow, timeout=20) == 14
        assert await oban.result(parts) == [12, 12, 12]
        with pytest.raises(JobDiscarded, match="no luck"):
            await oban.result(failing, timeout=20)


async def test_what_is_asked_of_a_job_is_asked_of_a_node_too(engine: AsyncEngine) -> None:
    flow, inner = Workflow("asked"), Workflow("inner")
    first = flow.add(note.new(), name="first")
    second = flow.add(note.new(), name="second", after=[first])
    inner.add(note.new())
    sub = flow.add(inner, after=[first])
    await commit(engine, flow)
    oban = Oban(engine)
    assert "first" in (await oban.why(second)).reason.text
    assert await oban.logs(first) == []
    await oban.cancel(flow)
    assert [event async for event in oban.stream(first)] == []
    with pytest.raises(InvalidOption, match="logs: expected the id of a job"):
        await oban.logs(sub)


def returned() -> Workflow:
    flow = Workflow("returned")
    flow.returns(flow.add(parse.new("page")))
    return flow


@job(queue=QUEUE)
def plain_plan() -> Workflow:
    return returned()


@job(queue=QUEUE, recorded=True)
async def plan_or_pages(pages: int) -> Workflow | list[SimplePage]:
    return [SimplePage(number=number) for number in range(pages)] or returned()


@job(queue=QUEUE)
async def plans_without_saying_so():  # type: ignore[no-untyped-def]
    flow = Workflow("later")
    flow.returns(flow.add(parse.options(queue="flows_later").new("page")))
    return flow


@job(queue=QUEUE, max_attempts=1)
async def forgets_the_node() -> Workflow:
    return cast(Any, Workflow("x").add(note.new()))


@job(queue=QUEUE, max_attempts=1, recorded=True)
async def forgets_the_workflow() -> Workflow:
    return cast(Any, [1])


async def test_a_plain_function_returns_a_workflow_in_tests_as_in_a_thread(engine: AsyncEngine) -> None:
    async with AsyncSession(engine, expire_on_commit=False) as session, mode("inline"):
        session.add(inline := plain_plan.new())
        await session.commit()
    async with AsyncSession(engine, expire_on_commit=False) as session:
        session.add(drained := plain_plan.new())
        await drain(session)
        await session.commit()
    drained_here = plain_plan.new()

    def drain_here() -> None:
        with Session(plain := create_engine(make_url(engine.url).set(drivername="postgresql+psycopg"))) as sync:
            sync.add(drained_here)
            drain(sync)
            sync.commit()
        plain.dispose()

    await asyncio.to_thread(drain_here)
    async with Oban(engine, queues={QUEUE: 5}, sessionmaker=async_sessionmaker(engine)) as oban:
        [run] = await oban.enqueue(plain_plan.new())
        assert [await oban.result(spec) for spec in (inline, drained, drained_here, run)] == [4] * 4


@job(queue="plain_workflows")
def grows(session: Session, current: Job) -> None:
    flow = flow_of(current)
    first = flow.append(fetch.new("u"), name="more", session=session)
    flow.append(parse.new(first.result[0]), name="last", after=[first], session=session)


@job
async def grows_apart(current: Job) -> None:
    flow = flow_of(current)
    first = await flow.append(fetch.new("u"), name="more")
    await flow.append(parse.new(first.result[0]), name="last", after=[first])


@job(queue="plain_workflows", max_attempts=1)
def grows_without_a_session(current: Job) -> None:
    cast(Any, flow_of(current)).append(note.new("lost"))


async def test_a_plain_function_appends_in_the_transaction_of_its_session(
    engine: AsyncEngine, database_url: str, clean_tables: None
) -> None:
    flow, without = Workflow("grows"), Workflow("without")
    flow.add(grows.new())
    without.add(grows_without_a_session.new())
    await commit(engine, flow, without)
    plain = create_engine(make_url(database_url).set(drivername="postgresql+psycopg"))
    makers: list[Any] = [async_sessionmaker(engine), sessionmaker(plain)]
    async with Oban(engine, queues={QUEUE: 5, "plain_workflows": 5}, sessionmaker=makers):
        assert (await ended(engine, flow)).state == "completed"
        await ended(engine, without)
    plain.dispose()
    names = await execute(engine, f"SELECT node_name FROM oban_jobs WHERE workflow_id = {flow.id} ORDER BY id")
    assert [name for (name,) in names] == ["grows", "more", "last"]
    [(said,)] = await execute(engine, "SELECT errors::text FROM oban_jobs WHERE state = 'discarded'")
    assert "append: a plain function gives its session, append(…, session=session)" in str(said)


async def test_a_job_may_return_a_workflow_or_a_value(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        session.add_all(specs := [plan_or_pages.new(1), plan_or_pages.new(0)])
        session.add_all([forgets_the_node.new(), forgets_the_workflow.new()])
        said = await drain(session)
        await session.commit()
    oban = Oban(engine)
    assert await oban.result(specs[0].id or 0) == [{"number": 0}]
    for target in (specs[1], specs[1].id or 0):
        of_the_workflow: Any = await oban.result(target)
        assert of_the_workflow == 4
    assert "returned <Node 'note' id=None>, a node of a workflow that is not enqueued" in str(said.errors[0])
    assert "it declares to return a Workflow, and returned [1]" in str(said.errors[1])


@job(queue=QUEUE, recorded=True)
async def stops(number: int) -> int:
    if number == 1:
        raise Cancel("not this one")
    return number


async def test_of_cancelled_jobs_the_first_one_is_named_and_not_what_it_has_cancelled(engine: AsyncEngine) -> None:
    flow = Workflow("stopped")
    last = flow.add(store.new(flow.map(stops.new, over=flow.add(numbers.new()).result, name="stops").results))
    flow.returns(last)
    await commit(engine, flow)
    async with Oban(engine, queues={QUEUE: 5}) as oban:
        with pytest.raises(JobCancelled, match=r"'1' \(job \d+\) was cancelled: not this one"):
            await oban.result(flow, timeout=20)


@job(queue=QUEUE)
async def numbers() -> list[int]:
    return [0, 1]


async def test_a_job_is_waited_for_until_its_workflow_has_ended_also_where_only_its_row_tells_of_it(
    engine: AsyncEngine,
) -> None:
    [job_id] = await insert(engine, spec := plans_without_saying_so.new())
    targets: list[Any] = [spec, job_id]
    async with Oban(engine, queues={QUEUE: 5, "flows_later": Queue(limit=1, paused=True)}) as oban:
        await eventually(lambda: execute(engine, "SELECT 1 FROM oban_jobs WHERE state = 'completed'"))
        late = [result.error async for _, result in oban.results(targets, timeout=0.2)]
        assert [str(error).startswith(f"job {job_id} had not finished within 0.2 s") for error in late] == [True, True]
        await oban.resume_queue("flows_later")
        assert [result.value async for _, result in oban.results(targets, timeout=20)] == [4, 4]


async def test_a_job_is_not_pruned_while_the_workflow_that_it_has_returned_goes_on(engine: AsyncEngine) -> None:
    [job_id, other] = await insert(engine, plans_without_saying_so.new(), note.new())
    queues: dict[str, int | Queue] = {QUEUE: 1, "flows_later": Queue(limit=1, paused=True)}
    async with Oban(engine, queues=queues, prune=Prune(max_age=0, interval=0.05)) as oban:
        await eventually(lambda: _is_gone(engine, other))
        assert not await _is_gone(engine, job_id)
        await oban.resume_queue("flows_later")
        await eventually(lambda: _is_gone(engine, job_id))


async def _is_gone(engine: AsyncEngine, job_id: int) -> bool:
    return not await execute(engine, "SELECT 1 FROM oban_jobs WHERE id = :id", id=job_id)


@pytest.mark.parametrize("of_the_workflow", [True, False])
async def test_a_node_that_waits_for_a_workflow_is_notified_of_its_end(
    engine: AsyncEngine, database_url: str, monkeypatch: pytest.MonkeyPatch, of_the_workflow: bool
) -> None:
    monkeypatch.setattr(waiter, "LOOK_EVERY", 60.0)
    flow, parts = pages()
    await commit(engine, flow)
    target = flow if of_the_workflow else parts
    elsewhere = create_async_engine(database_url)
    async with (
        Oban(elsewhere, node="asks") as asking,
        Oban(engine, queues={QUEUE: Queue(limit=5, paused=True)}, node="works") as working,
    ):
        waiting = asyncio.create_task(asking.result(target, timeout=60))
        await eventually(lambda: working._node and working._node.waiter._asked.keys() >= {edge(target)})
        await working.resume_queue(QUEUE)
        async with asyncio.timeout(20):
            assert await waiting == (14 if of_the_workflow else [12, 12, 12])
    await elsewhere.dispose()


async def test_drain_runs_a_workflow_to_its_end_in_the_transaction_of_the_test(engine: AsyncEngine) -> None:
    flow, _ = pages()
    async with AsyncSession(engine, expire_on_commit=False) as session:
        session.add(flow)
        assert await drain(session) == {"completed": 11}
        await session.refresh(flow)
        assert flow.state == "completed"
        await session.rollback()
    assert await execute(engine, "SELECT FROM oban_jobs") == []


async def test_inline_mode_runs_a_workflow_when_it_is_flushed(engine: AsyncEngine) -> None:
    flow, _ = pages()
    async with AsyncSession(engine) as session, mode("inline"):
        session.add(flow)
        await session.flush()
        await session.refresh(flow)
        assert flow.state == "completed"


async def test_inline_mode_runs_what_a_job_appends_to_its_workflow(engine: AsyncEngine, clean_tables: None) -> None:
    flow = Workflow("grows inline")
    flow.add(grows_apart.new())
    async with AsyncSession(engine, expire_on_commit=False) as session, mode("inline"):
        session.add(flow)
        await session.commit()
        await session.refresh(flow)
        assert flow.state == "completed"
        grown = (await session.scalars(select(Job).where(Job.node_name.in_(["more", "last"])))).all()
        assert [job.state for job in grown] == ["completed", "completed"]
        # Outside of a job: the node has run when the call returns.
        await flow_of(grown[0]).append(fetch.new("u"), name="later", session=session)
        assert await session.scalar(select(Job.state).where(Job.node_name == "later")) == "completed"


def test_a_plain_session_on_psycopg_writes_and_drains_the_same(database_url: str, clean_tables: None) -> None:
    @_plain
    def nothing() -> None: ...

    engine = create_engine(make_url(database_url).set(drivername="postgresql+psycopg"))
    try:
        with Session(engine) as session:
            flow = Workflow("plain")
            first = flow.add(nothing.new(), name="first")
            flow.map(lambda n: nothing.new(), over=[1, 2], name="several", after=[first])
            session.add(flow)
            assert drain(session) == {"completed": 3}
            session.refresh(flow)
            assert flow.state == "completed"
            session.rollback()
    finally:
        engine.dispose()


def _plain(fn: Any) -> Any:
    from oban_sqla import job

    return job(fn)


async def test_a_workflow_is_pruned_whole_after_its_end(engine: AsyncEngine) -> None:
    flow, _ = pages()
    young = Workflow("young")
    young.add(note.new())
    await commit(engine, flow, young)
    async with Oban(engine, queues={QUEUE: 5}):
        await ended(engine, flow)
        await ended(engine, young)
    for table, column in (("oban_jobs", "completed_at"), ("oban_workflows", "finished_at")):
        await execute(engine, f"UPDATE {table} SET {column} = {column} - interval '1 hour'")
    old = "UPDATE oban_workflows SET finished_at = finished_at - interval '2 days' WHERE root_id IS NULL AND id = :id"
    await execute(engine, old, id=flow.id)

    async def pruned() -> bool:
        async with AsyncSession(engine) as session:
            return (await session.scalars(select(Workflow.name))).all() == ["young"]

    policy = Prune.Policy(state="completed", max_age=1)
    async with Oban(engine, queues={}, prune=Prune(policies=[policy], interval=0.1)):
        await eventually(pruned)
    assert await execute(engine, "SELECT node_name FROM oban_jobs") == [("note",)]
    assert await execute(engine, "SELECT FROM oban_deps") == []


async def test_why_names_what_a_job_waits_for(engine: AsyncEngine) -> None:
    flow = Workflow("waiting")
    before = [flow.add(note.new(), name=name) for name in ("fetch", "parse")]
    last = flow.add(note.new(), name="last", after=before)
    await commit(engine, flow)
    assert last.id is not None
    answer = await Oban(engine).why(last.id)
    assert answer.reason.text == "it waits for 2 of 2 that come before it in its workflow: fetch, parse"


async def test_a_job_is_released_with_the_result_of_the_last_run_of_what_it_waits_for(engine: AsyncEngine) -> None:
    ran.clear()
    flow = Workflow("again")
    number = flow.add(parse.new("abc"), name="number")
    flow.add(store.new([number.result]), name="store")
    await commit(engine, flow)
    async with Oban(engine, queues={QUEUE: 5}) as oban:
        await ended(engine, flow)
        await execute(engine, "UPDATE oban_jobs SET args = '{\"page\": \"abcdef\"}' WHERE node_name = 'number'")
        assert await oban.retry(flow, from_node="number") == 2
        await ended(engine, flow)
    assert ran == [[3], [6]]
    async with AsyncSession(engine) as session:
        [args] = await session.scalars(select(Job.args).where(Job.node_name == "store"))
        assert args == {"counts": [6]}


async def test_a_workflow_that_is_retried_while_its_failure_is_read_is_waited_for(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = Workflow("retried")
    flow.returns(flow.add(fails.new(), name="node"))
    await commit(engine, flow)
    change = "UPDATE oban_jobs SET state = {0}, {1} WHERE workflow_id = :id"
    other = f"UPDATE oban_workflows SET state = {{0}}, finished_at = {{1}} WHERE id = {flow.id}"
    now = "timezone('UTC', now())"
    await execute(engine, change.format("'discarded'", f"discarded_at = {now}"), id=flow.id)
    await execute(engine, other.format("'failed'", now))
    retried: list[int] = []
    read = first_failure.execute

    def between(connection: Any, **given: Any) -> Any:
        """The workflow is retried just before this look."""
        if not retried:
            retried.append(1)
            connection.execute(text(change.format("'available'", "discarded_at = NULL")), {"id": flow.id})
            connection.execute(text(other.format("'executing'", "NULL")))
            connection.commit()
        return read(connection, **given)

    monkeypatch.setattr(flow_results, "first_failure", SimpleNamespace(execute=between))
    waiting = asyncio.create_task(Oban(engine).result(flow, timeout=20))
    await eventually(lambda: bool(retried))
    value = 'meta || \'{"recorded": true, "return": 5}\''
    await execute(engine, change.format("'completed'", f"completed_at = {now}, meta = {value}"), id=flow.id)
    await execute(engine, other.format("'completed'", now))
    assert await waiting == 5


@job(queue=QUEUE, max_attempts=1)
async def asks_for_its_flow(flow: Workflow) -> None: ...


@job(queue=QUEUE, max_attempts=1)
async def asks_for_its_batch(batch: Batch) -> None: ...


async def test_in_tests_too_a_job_that_is_in_none_fails_when_it_asks_for_its_workflow(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        session.add_all([asks_for_its_flow.new(), asks_for_its_batch.new(), note.new()])
        said = await drain(session)
        assert said == {"discarded": 2, "completed": 1}
        assert [str(error).partition("; ")[2] for error in said.errors] == [
            "add it to one: flow.add(…)",
            "enqueue it with Batch([…]) or Batch(…, on_exhausted=…)",
        ]


async def test_all_waiting_jobs_of_a_workflow_are_updated_also_inside_of_it(engine: AsyncEngine) -> None:
    flow, inner = Workflow("updated"), Workflow("inner")
    first = flow.add(note.new(), name="first")
    inner.add(note.new(), name="inside")
    flow.add(inner, after=[first])
    await commit(engine, flow)
    oban = Oban(engine)
    assert await oban.update(flow, queue="elsewhere", schedule_in=60) == 2
    jobs = await execute(engine, "SELECT node_name, queue, state::text FROM oban_jobs ORDER BY id")
    assert jobs == [("first", "elsewhere", "scheduled"), ("inside", "elsewhere", "suspended")]
    async with AsyncSession(engine) as session:
        assert await drain(session, until=61) == {"completed": 2}
    with pytest.raises(InvalidOption, match=r"a Node, a list of these, select\(Job\)…, a Workflow or a Batch, got 1.5"):
        await oban.update(cast(Any, 1.5), priority=1)


async def test_a_drain_counts_what_is_cancelled_because_another_job_has_failed(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        for elsewhere in (QUEUE, "elsewhere"):
            flow = Workflow("cancelled")
            first = flow.add(asks_for_its_batch.new(), name="first")
            second = flow.add(note.new(), name="second", after=[first])
            flow.add(note.options(queue=elsewhere).new(), name="third", after=[second])
            session.add(flow)
            assert await drain(session, QUEUE) == {"discarded": 1, "cancelled": 2 if elsewhere == QUEUE else 1}
