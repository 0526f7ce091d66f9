"""What must hold while nodes, users and the workflow itself work at the same time."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from oban_sqla import Job, Oban, Workflow, flow_of, job, telemetry
from tests.flows.test_workflows import commit
from tests.runtime.helpers import execute
from tests.support import eventually

QUEUE = "races"
runs: dict[int, int] = {}


@job(queue=QUEUE, max_attempts=1)
async def step(job: Job, fails: bool = False) -> int:
    runs[job.id] = runs.get(job.id, 0) + 1
    if fails:
        raise ValueError("as the model says")
    return job.id


@job(queue=QUEUE)
async def grows(job: Job) -> None:
    """Appends a node after one that is about to end, at the same time."""
    await flow_of(job).append(step.new(), name=f"appended {job.id}", after=["quick"])


@job(queue=QUEUE, max_attempts=1)
async def fails_once(job: Job) -> None:
    runs[job.id] = runs.get(job.id, 0) + 1
    if runs[job.id] == 1:
        raise ValueError("the first time")


async def all_ended(engine: AsyncEngine, timeout: float = 30.0) -> None:
    async def done() -> bool:
        rows = await execute(
            engine, "SELECT (SELECT count(*) FROM oban_workflows WHERE finished_at IS NULL), count(*) FROM oban_news"
        )
        assert rows == [(0, 0)], (rows, await execute(engine, "SELECT id, node_name, state FROM oban_jobs LIMIT 30"))
        return True

    await eventually(done, timeout)


async def test_two_last_dependencies_that_end_at_once_release_what_waits_once(engine: AsyncEngine) -> None:
    runs.clear()
    flows = [Workflow("fan-in") for _ in range(30)]
    for flow in flows:
        flow.add(step.new(), name="last", after=[flow.add(step.new(), name=str(n)) for n in range(4)])
    await commit(engine, *flows)
    async with Oban(engine, queues={QUEUE: 20}, node="one"), Oban(engine, queues={QUEUE: 20}, node="two"):
        await all_ended(engine)
    assert len(runs) == 150
    assert set(runs.values()) == {1}
    assert await execute(engine, "SELECT DISTINCT state FROM oban_workflows") == [("completed",)]


async def test_what_is_appended_after_a_node_that_ends_meanwhile_runs_once(engine: AsyncEngine) -> None:
    runs.clear()
    flows = [Workflow("growing") for _ in range(30)]
    for flow in flows:
        flow.add(step.new(), name="quick")
        flow.add(grows.new(), name="grows")
    await commit(engine, *flows)
    async with Oban(engine, queues={QUEUE: 20}, node="one"), Oban(engine, queues={QUEUE: 20}, node="two"):
        await all_ended(engine)
    assert len(runs) == 60
    assert set(runs.values()) == {1}


async def test_cancels_and_retries_of_users_leave_nothing_behind(engine: AsyncEngine) -> None:
    runs.clear()
    flows = [Workflow("busy") for _ in range(20)]
    for flow in flows:
        first = flow.add(step.new(), name="first")
        inner = Workflow("inner")
        inner.add(step.new(), name="b", after=[inner.add(step.new(), name="a")])
        sub = flow.add(inner, name="sub", after=[first])
        flow.add(step.new(), name="last", after=[sub])
    await commit(engine, *flows)
    chance = random.Random(7)

    async def user(oban: Oban) -> None:
        for _ in range(15):
            flow = chance.choice(flows)
            await (oban.cancel(flow) if chance.random() < 0.5 else oban.retry(flow))
            await asyncio.sleep(0)

    async with Oban(engine, queues={QUEUE: 20}, poll_interval=0.2) as oban:
        await asyncio.gather(*(user(oban) for _ in range(4)))
        for flow in flows:
            await oban.retry(flow)
        await all_ended(engine)
    assert await execute(engine, "SELECT DISTINCT state FROM oban_workflows") == [("completed",)]
    assert await execute(engine, "SELECT count(*) FROM oban_jobs WHERE state <> 'completed'") == [(0,)]


async def test_a_job_that_is_retried_and_completed_before_a_node_looks_mends_its_workflows(engine: AsyncEngine) -> None:
    outer, inner = Workflow("outer"), Workflow("inner")
    failed = inner.add(fails_once.new(), name="only")
    outer.add(inner, name="inner")
    told: list[tuple[str, str]] = []
    telemetry.attach("races", ["oban.workflow.stop"], lambda _, fields: told.append((fields["name"], fields["state"])))
    runs.clear()
    try:
        await commit(engine, outer)
        async with Oban(engine, queues={QUEUE: 5}, poll_interval=0.2) as oban:
            await all_ended(engine)
            assert await execute(engine, "SELECT DISTINCT state FROM oban_workflows") == [("failed",)]
            async with engine.connect() as holder:
                await holder.execute(text("SELECT FROM oban_workflows WHERE root_id IS NULL FOR UPDATE"))
                assert failed.id is not None
                assert await oban.retry(failed.id)

                async def both_are_news() -> bool:
                    found = await execute(engine, "SELECT state FROM oban_news ORDER BY id")
                    return found == [("available",), ("completed",)]

                await eventually(both_are_news)
            await all_ended(engine)
            await eventually(lambda: len(told) == 4)
    finally:
        telemetry.detach("races")
    assert await execute(engine, "SELECT DISTINCT state FROM oban_workflows") == [("completed",)]
    assert sorted(told[:2]) == [("inner", "failed"), ("outer", "failed")]
    assert sorted(told[2:]) == [("inner", "completed"), ("outer", "completed")]


async def test_a_transaction_that_holds_a_dependant_delays_no_ack(engine: AsyncEngine) -> None:
    flow, other = Workflow("held"), Workflow("free")
    held = flow.add(step.new(), name="held", after=[flow.add(step.new(), name="first")])
    other.add(step.new(), name="last", after=[other.add(step.new(), name="first")])
    await commit(engine, flow, other)
    async with engine.connect() as holder:
        await holder.execute(text("SELECT FROM oban_jobs WHERE id = :id FOR UPDATE"), {"id": held.id})
        await holder.execute(text("SELECT FROM oban_workflows WHERE id = :id FOR UPDATE"), {"id": flow.id})
        async with Oban(engine, queues={QUEUE: 5}, poll_interval=0.2):

            async def free() -> bool:
                rows = await execute(engine, "SELECT state FROM oban_jobs WHERE id <> :id", id=held.id)
                return {row[0] for row in rows} == {"completed"}

            await eventually(free)
            await holder.rollback()
            await all_ended(engine)


Nodes = list[tuple[list[int], str, bool]]


@st.composite
def graphs(draw: st.DrawFn) -> Nodes:
    """For each node the nodes before it, what a failure of those means, and whether it fails itself."""
    size = draw(st.integers(2, 14))
    nodes: Nodes = []
    for place in range(size):
        before = draw(st.lists(st.integers(0, max(place - 1, 0)), max_size=3, unique=True)) if place else []
        policy = draw(st.sampled_from(["cancel", "cancel", "ignore"]))
        nodes.append((before, policy, draw(st.integers(0, 5)) == 0))
    return nodes


def expected(nodes: Nodes) -> list[str]:
    """How each node ends, by the rules."""
    ends: list[str] = []
    for before, policy, fails in nodes:
        broken = any(ends[one] != "completed" for one in before)
        ends.append("cancelled" if broken and policy == "cancel" else "discarded" if fails else "completed")
    return ends


NO_CHECKS: list[Any] = list(HealthCheck)


async def test_random_workflows_end_as_a_model_says(engine: AsyncEngine) -> None:
    drawn: list[Nodes] = []

    @settings(
        max_examples=40,
        database=None,
        phases=[Phase.generate],
        deadline=None,
        suppress_health_check=NO_CHECKS,
    )
    @given(graphs())
    def draw(nodes: Nodes) -> None:
        drawn.append(nodes)

    draw()
    runs.clear()
    made: list[tuple[Workflow, Nodes]] = []
    for nodes in drawn:
        flow = Workflow("random")
        known: list[Any] = []
        for place, (before, policy, fails) in enumerate(nodes):
            after = [known[one] for one in before]
            on_failure: Any = policy
            known.append(flow.add(step.new(fails=fails), name=str(place), after=after, on_failure=on_failure))
        made.append((flow, nodes))
    await commit(engine, *(flow for flow, _ in made))
    async with Oban(engine, queues={QUEUE: 10}, node="one"), Oban(engine, queues={QUEUE: 10}, node="two"):
        await all_ended(engine, 60)
    async with AsyncSession(engine) as session:
        for flow, nodes in made:
            rows = await session.execute(select(Job.state).where(Job.workflow_id == flow.id).order_by(Job.id))
            assert [str(state.value) for (state,) in rows] == expected(nodes), nodes
        ran = await session.scalar(select(func.count()).where(Job.attempt > 0))
    assert ran == len(runs)
    assert set(runs.values()) == {1}


async def test_the_spans_of_a_workflow_are_one_trace(engine: AsyncEngine) -> None:
    from opentelemetry.sdk.trace import TracerProvider

    from oban_sqla import otel

    otel.instrument(TracerProvider())
    try:
        flow = Workflow("traced")
        flow.map(lambda n: step.new(), over=[1, 2], name="several", after=[flow.add(step.new(), name="first")])
        await commit(engine, flow)
    finally:
        otel.uninstrument()
    rows = await execute(engine, "SELECT split_part(meta -> 'otel' ->> 'traceparent', '-', 2) FROM oban_jobs")
    assert len(rows) == 3
    assert len({row[0] for row in rows}) == 1
    assert rows[0][0]
