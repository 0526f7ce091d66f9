"""What a workflow tells of itself: the types of its results, its end by telemetry, and why jobs of groups wait."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from oban_sqla import (
    Batch,
    Chain,
    Chunk,
    InvalidOption,
    Job,
    JobDiscarded,
    Oban,
    Result,
    ResultTimeout,
    Workflow,
    enqueue,
    flow_of,
    job,
    telemetry,
)
from oban_sqla.durable import wait_for
from oban_sqla.insight.jobs import details
from oban_sqla.prometheus import instrument
from tests.doctor.conftest import diagnose
from tests.flows.test_command_line import run
from tests.flows.test_workflows import QUEUE, commit, ended, fails, note, plan, store
from tests.runtime.helpers import execute
from tests.support import eventually


class Page(BaseModel):
    url: str
    links: list[str] = []


@dataclass
class Size:
    of: str
    bytes: int


@job(queue=QUEUE, name="told.pages")
async def pages() -> list[Page]:
    return [Page(url="a"), Page(url="b", links=["c"])]


@job(queue=QUEUE, name="told.size")
async def size(page: Page) -> Size:
    return Size(page.url, len(page.links))


@job(queue=QUEUE, name="told.sizes")
async def sizes(all_of: list[Size]) -> dict[str, Size]:
    return {one.of: one for one in all_of}


async def test_results_have_the_types_that_the_functions_declare(engine: AsyncEngine) -> None:
    flow, inner = Workflow("typed"), Workflow("inner")
    found = flow.add(pages.new())
    mapped = flow.map(lambda page: size.new(page), over=found.result, name="mapped")
    spread = flow.map(size.new, over=[Page(url="x"), Page(url="y")], name="spread")
    inner.returns(inner.add(sizes.new([Size("z", 1)])))
    sub = flow.add(inner, name="sub")
    flow.returns(flow.add(sizes.new(mapped.results), name="last"))
    await commit(engine, flow)
    async with Oban(engine, queues={QUEUE: 5}) as oban:
        assert await oban.result(flow, 20) == {"a": Size("a", 0), "b": Size("b", 1)}
        assert await oban.result(found) == [Page(url="a"), Page(url="b", links=["c"])]
        assert await oban.result(mapped) == [Size("a", 0), Size("b", 1)]
        assert await oban.result(spread, 20) == [Size("x", 0), Size("y", 0)]
        assert await oban.result(sub, 20) == {"z": Size("z", 1)}
        async with AsyncSession(engine) as session:
            loaded = await session.get_one(Workflow, flow.id)
        assert await oban.result(loaded) == {"a": {"of": "a", "bytes": 0}, "b": {"of": "b", "bytes": 1}}


async def test_the_result_of_a_job_that_returns_a_workflow_is_that_of_the_workflow(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session, session.begin():
        spec = plan.new(3)
        session.add(spec)
    async with Oban(engine, queues={QUEUE: 5}) as oban:
        value: object = await oban.result(spec, 20)
        assert value == 3
        assert [cast(object, result.value) async for _, result in oban.results([spec])] == [3]


async def test_results_takes_workflows_and_nodes_beside_jobs_and_gives_each_as_it_ends(engine: AsyncEngine) -> None:
    bad, late, good = Workflow("bad"), Workflow("late"), Workflow("good")
    bad.returns(bad.add(fails.options(max_attempts=1).new("bad"), name="broken"))
    late.returns(late.add(note.options(schedule_in=3600).new("late")))
    spread = good.map(size.new, over=[Page(url="x"), Page(url="y")], name="spread")
    good.returns(good.add(sizes.new(spread.results)))
    planned, alone = plan.new(3), note.new("alone")
    async with AsyncSession(engine) as session, session.begin():
        session.add_all([bad, late, good, planned, alone])
    given: list[Any] = [late, bad, good, spread, planned, alone]
    seen: list[tuple[Any, Result[Any]]] = []

    @job(queue=QUEUE, name="told.waits")
    async def waits(oban: Oban) -> None:
        seen.extend([pair async for pair in oban.results(given, timeout=5)])

    async with Oban(engine, queues={QUEUE: 1}) as oban:
        with pytest.raises(InvalidOption, match="is not written: commit its session first"):
            oban.results([*given, Workflow("unwritten")])
        await oban.result((await oban.enqueue(waits.options(priority=0).new()))[0], 20)
        assert oban._node is not None
        assert not oban._node.producers[QUEUE].slots.out, "the slot, which was free for the others, was taken again"
    found = {id(target): result for target, result in seen}
    assert found.keys() == {id(one) for one in given}
    assert seen[-1][0] is late
    assert [found[id(one)].value for one in (planned, spread)] == [3, [Size("x", 0), Size("y", 0)]]
    assert found[id(good)].value == {"x": Size("x", 0), "y": Size("y", 0)}
    assert isinstance(found[id(bad)].error, JobDiscarded)
    assert isinstance(found[id(late)].error, ResultTimeout)


async def test_a_job_can_not_wait_for_a_workflow_that_its_session_has_added(engine: AsyncEngine) -> None:
    said: list[str] = []

    @job(queue=QUEUE)
    async def impatient(session: AsyncSession, oban: Oban) -> None:
        flow = Workflow("own")
        flow.returns(flow.add(store.new([1])))
        session.add(flow)
        await session.flush()
        with pytest.raises(InvalidOption, match="was enqueued by the session of this job") as raised:
            await oban.result(flow)
        said.append(str(raised.value))

    async with AsyncSession(engine) as session, session.begin():
        session.add(impatient.new())
    async with Oban(engine, queues={QUEUE: 5}):
        await eventually(lambda: said)


async def test_the_end_of_a_workflow_is_an_event_and_is_counted(engine: AsyncEngine) -> None:
    told: list[Mapping[str, Any]] = []
    metrics = instrument(registry := CollectorRegistry())
    telemetry.attach("test", ["oban.workflow.stop"], lambda _, fields: told.append(fields))
    try:
        inner = Workflow("inner")
        inner.add(note.new())
        good, bad = Workflow("good"), Workflow("bad")
        good.add(inner, name="sub")
        bad.add(fails.new())
        await commit(engine, good, bad)
        async with Oban(engine, queues={QUEUE: 5}) as oban:
            await eventually(lambda: len(told) == 3)
            await oban.retry(bad)
            await eventually(lambda: len(told) == 4)
    finally:
        telemetry.detach("test")
        metrics.detach()
    ends = sorted((one["name"], one["state"], one["parent_id"]) for one in told)
    assert ends == [
        ("bad", "failed", None), ("bad", "failed", None), ("good", "completed", None), ("inner", "completed", good.id)
    ]  # fmt: skip
    assert all(one["duration"] > 0 for one in told)
    assert registry.get_sample_value("oban_workflows_total", {"state": "failed"}) == 2
    assert registry.get_sample_value("oban_workflows_total", {"state": "completed"}) == 1
    assert registry.get_sample_value("oban_workflow_duration_seconds_count") == 3


async def test_maps_grafts_and_appended_jobs_belong_to_the_trace_of_their_workflow(engine: AsyncEngine) -> None:
    from opentelemetry.sdk.trace import TracerProvider

    from oban_sqla import otel

    @job(queue=QUEUE)
    async def appends(job: Job) -> None:
        await flow_of(job).append(note.new(), name="appended")

    otel.instrument(TracerProvider())
    try:
        flow = Workflow("traced")
        found = flow.add(pages.new())
        mapped = flow.map(lambda page: size.new(page), over=found.result, name="mapped")
        flow.add(appends.new(), after=[flow.add(plan.new(1), after=[mapped])])
        await commit(engine, flow)
        async with Oban(engine, queues={QUEUE: 5}):
            await ended(engine, flow)
    finally:
        otel.uninstrument()
    rows = await execute(engine, "SELECT split_part(meta -> 'otel' ->> 'traceparent', '-', 2) FROM oban_jobs")
    assert len(rows) == 9
    assert len({row[0] for row in rows}) == 1


async def test_a_signal_is_sent_to_a_node_by_the_command_line(engine: AsyncEngine) -> None:
    @job(queue=QUEUE)
    async def approval() -> Any:
        return await wait_for("approved", timeout=60)

    flow = Workflow("approval")
    flow.returns(flow.add(approval.new(), name="approval"))
    await commit(engine, flow)
    async with Oban(engine, queues={QUEUE: 5}, poll_interval=0.2) as oban:
        sent = await run(engine, "signal", str(flow.id), "approval", "approved", '{"by": "ann"}')
        assert sent == (0, "sent 'approved' to 'approval'\n")
        assert await oban.result(flow, 20) == {"by": "ann"}
    code, said = await run(engine, "signal", str(flow.id), "approval", "approved")
    assert (code, "node 'approval' (job" in said, "has finished; nothing was sent" in said) == (1, True, True)
    code, said = await run(engine, "signal", str(flow.id), "other", "approved")
    assert (code, "has no node 'other'" in said) == (1, True)
    code, said = await run(engine, "signal", str(flow.id), "approval", "approved", "{")
    assert (code, "expected JSON" in said) == (2, True)


async def test_why_and_show_name_the_batch_the_chain_and_the_chunk_of_a_job(engine: AsyncEngine) -> None:
    @job(queue=QUEUE, chunk=Chunk(size=50))
    async def chunked(jobs: list[Job]) -> None: ...

    @job(queue=QUEUE, chain=Chain(by="args.account"))
    async def chained(account: int) -> None: ...

    member, callback, link = note.new(), note.new(), chained.new(7)
    batch = Batch([member, note.new()], name="mails", on_cancelled=callback)
    async with AsyncSession(engine) as session, session.begin():
        session.add_all([batch, link])
        [piece] = await enqueue(session, [chunked.new({})])
    oban = Oban(engine)
    assert member.id is not None
    assert link.id is not None
    belongs = f"it belongs to the batch {batch.id} 'mails', of which"
    assert (await oban.why(member)).reasons[-1].text == f"{belongs} 2 have not finished"
    assert (await oban.why(piece)).reasons[-1].text.startswith("it runs in one call with up to 49 others")
    await oban.cancel(member)
    assert (await oban.why(member)).reasons[-1].text == f"{belongs} 1 have not finished"
    async with Oban(engine, queues={"none": 1}):
        [(called,)] = await eventually(lambda: execute(engine, "SELECT id FROM oban_jobs WHERE meta ? 'callback'"))
    assert "it is the callback on_cancelled of the batch" in (await oban.why(called)).reasons[-1].text
    async with AsyncSession(engine) as session:
        shown, of_link, of_callback = [await details(session, one) for one in (member.id, link.id, called)]
    assert shown is not None
    assert of_link is not None
    assert of_callback is not None
    assert shown["batch"] == {
        "id": batch.id, "name": "mails", "finished_at": None, "callback": None,
        "jobs": {"available": 1, "cancelled": 1},
    }  # fmt: skip
    assert of_link["chain"] == "args.account [7]"
    assert of_callback["batch"]["callback"] == "cancelled"


async def test_the_doctor_finds_chains_and_batches_that_stand_still(engine: AsyncEngine) -> None:
    @job(queue=QUEUE, chain=Chain(by="worker", on_failure="hold"))
    async def held() -> None: ...

    @job(queue=QUEUE, chain=Chain(by="worker"))
    async def idle() -> None: ...

    assert [one.status for one in await diagnose(engine, "groups")] == ["ok"]
    first = held.new()
    batch = Batch([note.new()])
    async with AsyncSession(engine) as session, session.begin():
        session.add_all([first, batch, idle.new()])
        await session.flush()
        session.add(held.new())
    await execute(engine, f"UPDATE oban_jobs SET state = 'discarded', discarded_at = now() WHERE id = {first.id}")
    await execute(engine, f"UPDATE oban_jobs SET state = 'cancelled' WHERE batch_id = {batch.id}")
    await execute(engine, "DELETE FROM oban_news")
    found = await diagnose(engine, "groups")
    assert [one.found for one in found] == [
        "chains held by a job that was discarded: 1",
        "chains in which jobs wait although their turn has come: 1",
        "batches that have ended, and whose callbacks are not enqueued: 1",
    ]
    assert found[0].advice == f"oban-sqla jobs retry {first.id}, or cancel or delete it"
