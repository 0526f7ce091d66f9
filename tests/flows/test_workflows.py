"""Workflows: built, added to a session, run by a node."""

from __future__ import annotations

from typing import Any, TypedDict, cast

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from oban_sqla import InvalidOption, Job, Oban, Workflow, flow_of, job
from oban_sqla.testing import drain
from tests.runtime.helpers import execute
from tests.support import eventually

QUEUE = "workflows"
ran: list[Any] = []


class User(TypedDict):
    homepage: str
    age: int


@job(queue=QUEUE)
async def load_user(id: int) -> User:
    return {"homepage": f"https://{id}", "age": id}


@job(queue=QUEUE)
async def fetch(url: str) -> list[str]:
    return [f"{url}/{n}" for n in range(3)]


@job(queue=QUEUE)
async def parse(page: str, lang: str = "en") -> int:
    return len(page) + (lang == "de")


@job(queue=QUEUE)
async def find() -> list[dict[str, Any]]:
    return [{"url": "a", "tags": ["x", "y"]}, {"url": "b", "tags": []}]


@job(queue=QUEUE)
async def label(page: str, by: dict[str, Any]) -> list[Any]:
    return [page, by]


@job(queue=QUEUE)
async def store(counts: list[int]) -> int:
    ran.append(counts)
    return sum(counts)


@job(queue=QUEUE)
async def note(what: str = "") -> None:
    ran.append(what)


@job(queue=QUEUE, max_attempts=1)
async def fails(what: str = "fails") -> None:
    ran.append(what)
    raise ValueError("no luck")


async def commit(engine: AsyncEngine, *flows: Workflow) -> None:
    async with AsyncSession(engine) as session, session.begin():
        session.add_all(flows)


async def ended(engine: AsyncEngine, flow: Workflow) -> Workflow:
    async def done() -> Workflow:
        async with AsyncSession(engine) as session:
            found = await session.get_one(Workflow, flow.id)
            jobs = (await session.scalars(select(Job).order_by(Job.id))).all()
            assert found.state != "executing", [(j.node_name, str(j.state), j.args, j.errors) for j in jobs]
            return found

    return await eventually(done)


async def states(engine: AsyncEngine) -> dict[str | None, str]:
    async with AsyncSession(engine) as session:
        rows = await session.execute(select(Job.node_name, Job.state).order_by(Job.id))
        return {name: str(state.value) for name, state in rows}


@job(name="flows.plans_nothing", queue=QUEUE)
async def plans_nothing() -> Workflow:
    return Workflow("nothing")


@job(queue=QUEUE)
async def plan(pages: int) -> Workflow:
    inner = Workflow("planned")
    several = inner.map(lambda n: parse.new(str(n)), over=range(pages))
    inner.returns(inner.add(store.new(several.results)))
    return inner


@job(queue=QUEUE)
async def appends(job: Job) -> None:
    node = await flow_of(job).append(note.new("appended"), name="more", after=["first"])
    await flow_of(job).append(note.new("after that"), name="last", after=["more"])
    assert node.id is not None


async def test_a_workflow_of_two_jobs_runs_them_in_order(engine: AsyncEngine) -> None:
    ran.clear()
    flow = Workflow("two")
    first = flow.add(note.new("first"))
    flow.add(note.new("second"), name="second", after=[first])
    await commit(engine, flow)
    assert flow.id is not None
    assert not flow.conflict
    assert first.id is not None
    async with Oban(engine, queues={QUEUE: 5}):
        assert (await ended(engine, flow)).state == "completed"
    assert ran == ["first", "second"]


async def test_results_are_arguments_and_a_map_fans_out_at_run_time(engine: AsyncEngine) -> None:
    ran.clear()
    flow = Workflow("pages")
    user = flow.add(load_user.new(7), name="user")
    pages = flow.add(fetch.new(url=user.result["homepage"]))
    parts = flow.map(lambda page: parse.new(page, lang="de"), over=pages.result)
    last = flow.add(store.new(parts.results), after=[user])
    flow.returns(last)
    await commit(engine, flow)
    async with Oban(engine, queues={QUEUE: 5}):
        assert (await ended(engine, flow)).state == "completed"
    assert ran == [[12, 12, 12]]


async def test_jobs_of_a_map_take_parts_of_their_element_and_results_of_other_nodes(engine: AsyncEngine) -> None:
    flow = Workflow("labels")
    user = flow.add(load_user.new(7), name="user")

    def labelled(page: Any) -> Any:
        return label.new(page["url"], {"tags": [page["tags"][0], "fixed"], "age": user.result["age"]})

    flow.returns(flow.map(labelled, over=flow.add(find.new()).result))
    await commit(engine, flow)
    async with Oban(engine, queues={QUEUE: 5}) as oban:
        labels = await oban.result(flow, timeout=20)
    assert labels == [["a", {"tags": ["x", "fixed"], "age": 7}], ["b", {"tags": [None, "fixed"], "age": 7}]]


async def test_a_failure_cancels_what_waits_for_it_unless_that_ignores_it(engine: AsyncEngine) -> None:
    flow = Workflow("failing")
    bad = flow.add(fails.new())
    flow.add(note.new(), name="cancelled", after=[bad])
    flow.add(note.new(), name="too", after=["cancelled"])
    flow.add(note.new(), name="ignores", after=[bad], on_failure="ignore")
    await commit(engine, flow)
    async with Oban(engine, queues={QUEUE: 5}):
        assert (await ended(engine, flow)).state == "failed"
    assert await states(engine) == {
        "fails": "discarded",
        "cancelled": "cancelled",
        "too": "cancelled",
        "ignores": "completed",
    }
    async with AsyncSession(engine) as session:
        [error] = await session.scalars(select(Job.errors).where(Job.node_name == "too"))
    assert error[0]["error"] == f"cancelled because 'fails' (job {bad.id}) was discarded"


async def test_a_retried_workflow_runs_what_failed_and_what_that_had_cancelled(engine: AsyncEngine) -> None:
    lucky = {"now": False}

    @job(queue=QUEUE, max_attempts=1)
    async def moody() -> None:
        if not lucky["now"]:
            raise ValueError("no luck")

    ran.clear()
    flow = Workflow("retried")
    before = flow.add(note.new("before"), name="before")
    bad = flow.add(moody.new(), after=[before])
    flow.add(note.new("after"), name="after", after=[bad])
    await commit(engine, flow)
    async with Oban(engine, queues={QUEUE: 5}) as oban:
        assert (await ended(engine, flow)).state == "failed"
        lucky["now"] = True
        assert await oban.retry(flow) == 2
        assert (await ended(engine, flow)).state == "completed"
        assert ran == ["before", "after"]
        with pytest.raises(InvalidOption, match="from_node is the name of a node"):
            await oban.retry(flow, from_node=cast(Any, 5))
        assert await oban.retry(flow, from_node="moody") == 2
        assert (await ended(engine, flow)).state == "completed"
    assert ran == ["before", "after", "after"]


async def test_a_workflow_inside_another_runs_after_and_before_its_neighbours(engine: AsyncEngine) -> None:
    ran.clear()
    inner = Workflow("inner")
    one = inner.add(note.new("inner one"), name="one")
    inner.add(note.new("inner two"), name="two", after=[one])
    inner.returns(inner.add(store.new([1, 2]), name="sum", after=["two"]))
    flow = Workflow("outer")
    first = flow.add(note.new("first"), name="first")
    sub = flow.add(inner, name="sub", after=[first])
    flow.add(store.new([sub.result]), name="last")
    await commit(engine, flow)
    async with Oban(engine, queues={QUEUE: 5}):
        assert (await ended(engine, flow)).state == "completed"
    assert ran == ["first", "inner one", "inner two", [1, 2], [3]]
    async with AsyncSession(engine) as session:
        found = await session.get_one(Workflow, inner.id)
        assert (found.parent_id, found.root_id, found.state) == (flow.id, flow.id, "completed")


async def test_a_returned_workflow_takes_the_place_of_its_job(engine: AsyncEngine) -> None:
    ran.clear()
    flow = Workflow("grafting")
    planned: Any = flow.add(plan.new(3), name="plan")
    flow.add(store.new([planned.result]), name="last")
    await commit(engine, flow)
    async with Oban(engine, queues={QUEUE: 5}):
        assert (await ended(engine, flow)).state == "completed"
    assert ran == [[1, 1, 1], [3]]


async def test_a_job_appends_to_its_running_workflow(engine: AsyncEngine) -> None:
    ran.clear()
    flow = Workflow("growing")
    first = flow.add(note.new("first"), name="first")
    flow.add(appends.new(), after=[first])
    await commit(engine, flow)
    async with Oban(engine, queues={QUEUE: 5}):
        assert (await ended(engine, flow)).state == "completed"
    assert ran == ["first", "appended", "after that"]


def growth(url: str, name: str = "growth") -> Workflow:
    flow, inner = Workflow(name), Workflow("inner")
    inner.returns(inner.add(fetch.new(url)))
    pages = flow.add(inner)
    flow.map(parse.new, over=pages.result, name="parts")
    flow.returns(flow.add(parse.new(pages.result[0])))
    return flow


def inner_of(flow: Workflow) -> Workflow:
    found = flow.nodes["inner"].sub
    assert found is not None
    return found


@job(queue=QUEUE, backoff=0)
async def appends_again(job: Job) -> None:
    flow = flow_of(job)
    first = await flow.append(fetch.new("u"), name="more")
    for wrong in (5, [job], [first, None], first.result):
        with pytest.raises(InvalidOption, match="append: after: expected nodes or their names, got"):
            await flow.append(fetch.new("u"), name="wrong", after=cast(Any, wrong))
    if job.attempt == 1:
        with pytest.raises(InvalidOption, match="has a node 'more' already"):
            await flow.append(fetch.new("u"), name="more")
    with pytest.raises(InvalidOption, match="has a node 'more' already"):
        await flow.append(fetch.new("another"), name="more")
    last = await flow_of(job).append(parse.new(first.result[0]), name="last", after=[first])
    part = growth("u")
    sub = await flow.append(part, name="part", after=[last])
    assert part.conflict == (job.attempt == 2)
    if job.attempt == 2:
        for other in (growth("another"), growth("u", name="another")):
            with pytest.raises(InvalidOption, match="has a node 'part' already"):
                await flow.append(other, name="part")
    unique, whole = Workflow("unique", unique="one"), growth("u")
    for no_part, why in ((part, "was added before"), (unique, "can't be unique"), (inner_of(whole), "is a part of")):
        with pytest.raises(InvalidOption, match=why):
            await flow.append(no_part, name="no part")
    with pytest.raises(InvalidOption, match="'parts' .* is a node of .*, not of 'workflow "):
        await flow.append(store.new(part.nodes["parts"].result))
    sums = await flow.append(store.new([sub.result]))
    ran.append((first.id, last.id, sub.edge_id, part.nodes["parse"].id, sums.id))
    if job.attempt == 1:
        raise RuntimeError("after it has appended")


async def test_a_job_that_has_appended_and_is_retried_appends_nothing_twice(engine: AsyncEngine) -> None:
    ran.clear()
    flow = Workflow("appended once")
    flow.add(appends_again.options(max_attempts=2).new())
    await commit(engine, flow)
    async with Oban(engine, queues={QUEUE: 5}, sessionmaker=async_sessionmaker(engine)):  # what it commits expires
        assert (await ended(engine, flow)).state == "completed"
    names = [str(name) for (name,) in await execute(engine, "SELECT node_name FROM oban_jobs ORDER BY node_name")]
    assert names == sorted(["appends_again", "more", "last", "fetch", "parts", "0", "1", "2", "parse", "store"])
    runs: list[Any] = [one for one in ran if isinstance(one, tuple)]
    assert len(runs) == 2
    assert runs[0] == runs[1]


async def test_a_job_that_was_cancelled_while_it_waited_waits_again_when_it_is_retried(engine: AsyncEngine) -> None:
    ran.clear()
    flow = Workflow("again")
    first = flow.add(fetch.options(schedule_in=0.5).new("u"), name="first")
    last = flow.add(parse.new(first.result[0]), name="last")
    flow.returns(last)
    await commit(engine, flow)
    oban = Oban(engine)
    assert last.id is not None
    assert await oban.cancel(last.id) == 1
    assert await oban.retry(last.id) == 1
    assert await states(engine) == {"first": "scheduled", "last": "suspended"}
    async with Oban(engine, queues={QUEUE: 5}) as node:
        assert await node.result(flow, 20) == 3


async def test_what_is_appended_after_a_map_or_a_graft_waits_for_all_of_it(engine: AsyncEngine) -> None:
    @job(queue=QUEUE)
    async def late(job: Job) -> None:
        async def spread() -> bool:
            names = "SELECT node_name FROM oban_workflows WHERE graft_of IS NOT NULL ORDER BY 1"
            return await execute(engine, names) == [("parts",), ("plan",)]

        await eventually(spread)  # both are workflows by now
        await flow_of(job).append(note.new("after both"), name="last", after=["parts", "plan"], on_failure="wait")

    ran.clear()
    flow = Workflow("late")
    flow.map(parse.new, over=flow.add(fetch.new("u")).result, name="parts")
    flow.add(plan.new(2), name="plan")
    flow.add(late.new(), name="late")
    await commit(engine, flow)
    async with Oban(engine, queues={QUEUE: 10}):
        assert (await ended(engine, flow)).state == "completed"
    assert ran[-1] == "after both"


async def test_a_cancelled_workflow_runs_nothing_more(engine: AsyncEngine) -> None:
    flow = Workflow("cancelled")
    first = flow.add(note.options(schedule_in=60).new(), name="first")
    inner = Workflow("inner")
    inner.add(note.new())
    flow.add(inner, after=[first], on_failure="ignore")
    await commit(engine, flow)
    async with Oban(engine, queues={QUEUE: 5}) as oban:
        assert await oban.cancel(flow) == 2
        assert (await ended(engine, flow)).state == "cancelled"
        assert await oban.delete(flow) == 2
    async with AsyncSession(engine) as session:
        assert (await session.scalars(select(Workflow))).all() == []
        assert (await session.scalars(select(Job))).all() == []


async def test_what_is_loaded_of_a_deleted_workflow_leaves_the_session_with_it(any_engine: AsyncEngine) -> None:
    flow, inner, other = Workflow("outer"), Workflow("inner"), Workflow("other")
    inner.add(note.new())
    flow.add(inner)
    flow.add(note.new())
    other.add(note.new())
    await commit(any_engine, flow, other)
    async with AsyncSession(any_engine) as session:
        objects = [*await session.scalars(select(Workflow)), *await session.scalars(select(Job))]
        session.expire(objects[-1])  # of one that is to be read again nothing is known but its id
        mine = await session.get_one(Workflow, flow.id)
        assert await Oban(any_engine).delete(mine, session) == 2
        assert {one for one in objects if one in session} == {
            await session.get(Workflow, other.id),
            *await session.scalars(select(Job)),
        }
        await session.commit()
        for one in session.identity_map.values():
            await session.refresh(one)  # each has its row


async def test_only_one_workflow_of_a_unique_key_lives(engine: AsyncEngine) -> None:
    first, second, third = (Workflow("one", unique="key") for _ in range(3))
    for flow in (first, second, third):
        flow.add(note.new())
    await commit(engine, first)
    await commit(engine, second)
    assert (first.conflict, second.conflict, second.id) == (False, True, first.id)
    async with Oban(engine, queues={QUEUE: 5}):
        await ended(engine, first)
    await commit(engine, third)
    assert not third.conflict
    assert third.id != first.id


async def test_a_workflow_is_an_ordinary_object_of_a_session(engine: AsyncEngine) -> None:
    flow = Workflow("ordinary", meta={"a": 1})
    node = flow.add(note.new())
    async with AsyncSession(engine) as session:
        session.add(flow)
        await session.flush()
        assert flow.id is not None
        await session.rollback()
        assert flow.id is None
        assert node.id is None
        session.add(flow)
        await session.commit()
        assert flow.id is not None
        found = (await session.scalars(select(Workflow).where(Workflow.id == flow.id))).one()
        assert found is flow
        await session.refresh(flow, ["name", "state", "meta", "jobs", "counts"])
        assert (flow.name, flow.state, flow.meta, flow.counts) == ("ordinary", "executing", {"a": 1}, {"available": 1})
        assert [one.node_name for one in flow.jobs] == ["note"]
        executing = select(Workflow).where(Workflow.state == "executing")
        assert (await session.scalars(executing)).all() == [flow]


@job(queue=QUEUE)
async def look(flow: Workflow, what: str) -> None:
    ran.append((what, flow.name, flow.counts, len(flow.jobs)))


async def test_a_job_may_ask_for_its_workflow(engine: AsyncEngine) -> None:
    ran.clear()
    flow = Workflow("asked")
    flow.add(look.new(what="node"), after=[flow.add(note.new("first"))])
    await commit(engine, flow)
    async with Oban(engine, {QUEUE: 5}):
        await ended(engine, flow)
    assert ran == ["first", ("node", "asked", {"completed": 1, "executing": 1}, 2)]
    ran.clear()
    async with AsyncSession(engine) as session:
        drained = Workflow("drained")
        drained.add(look.new(what="drain"))
        session.add(drained)
        assert await drain(session) == {"completed": 1}
        assert ran == [("drain", "drained", {"executing": 1}, 1)]
        await session.rollback()


async def test_a_job_that_plans_nothing_is_done(engine: AsyncEngine) -> None:
    ran.clear()
    flow = Workflow("planning nothing")
    planned = flow.add(plans_nothing.new(), name="plan")
    flow.add(note.new("after"), name="last", after=[planned])
    await commit(engine, flow)
    async with Oban(engine, queues={QUEUE: 5}):
        assert (await ended(engine, flow)).state == "completed"
    assert ran == ["after"]
