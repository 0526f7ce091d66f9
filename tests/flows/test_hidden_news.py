"""News of a change that was over, or hidden by another one, when a node looked."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import Chain, Oban, Workflow, job
from tests.flows.test_workflows import commit
from tests.runtime.helpers import execute, insert

QUEUE = "races"


@job(queue=QUEUE, recorded=True)
async def one(value: int = 0) -> int:
    return value


@job(queue=QUEUE, chain=Chain("worker", on_failure="cancel"))
async def chained() -> None: ...


async def release(engine: AsyncEngine, what: str = "flows") -> None:
    await execute(engine, f"SELECT * FROM oban_release_{what}(200)")


async def end(engine: AsyncEngine, job_id: int | None, state: str) -> None:
    await execute(
        engine, f"UPDATE oban_jobs SET state = '{state}', {state}_at = timezone('UTC', now()) WHERE id = {job_id}"
    )


@pytest.mark.parametrize("looks_between", [True, False])
async def test_what_waits_for_a_job_that_has_completed_and_is_deleted_then_begins(
    engine: AsyncEngine, looks_between: bool
) -> None:
    flow = Workflow("deleted")
    first = flow.add(one.new(), name="first")
    last = flow.add(one.new(), name="last", after=[first])
    await commit(engine, flow)
    await end(engine, first.id, "completed")
    if looks_between:
        await release(engine)
    assert await Oban(engine).delete(first) == 1
    await release(engine)
    assert await execute(engine, f"SELECT state, errors FROM oban_jobs WHERE id = {last.id}") == [("available", [])]


async def test_what_uses_the_result_of_a_job_that_is_gone_is_cancelled(engine: AsyncEngine) -> None:
    flow = Workflow("deleted")
    first = flow.add(one.new(), name="first")
    last = flow.add(one.new(first.result), name="last")
    await commit(engine, flow)
    await end(engine, first.id, "completed")
    assert await Oban(engine).delete(first) == 1
    await release(engine)
    assert await execute(engine, f"SELECT state FROM oban_jobs WHERE id = {last.id}") == [("cancelled",)]


async def test_what_waits_for_a_job_that_was_retried_and_deleted_then_is_cancelled(engine: AsyncEngine) -> None:
    flow = Workflow("deleted")
    first = flow.add(one.new(), name="first")
    last = flow.add(one.new(), name="last", after=[first])
    await commit(engine, flow)
    await end(engine, first.id, "completed")
    assert await Oban(engine).retry(first) == 1
    assert await Oban(engine).delete(first) == 1
    await release(engine)
    assert await execute(engine, f"SELECT state FROM oban_jobs WHERE id = {last.id}") == [("cancelled",)]


@pytest.mark.parametrize("looks_between", [True, False])
async def test_a_discarded_job_of_a_chain_cancels_those_behind_it_even_if_it_is_deleted_then(
    engine: AsyncEngine, looks_between: bool
) -> None:
    first, last = await insert(engine, chained.new(), chained.new())
    await release(engine, "chains")
    await end(engine, first, "discarded")
    if looks_between:
        await release(engine, "chains")
    assert await Oban(engine).delete(first) == 1
    await release(engine, "chains")
    assert await execute(engine, f"SELECT state FROM oban_jobs WHERE id = {last}") == [("cancelled",)]


async def test_a_workflow_whose_row_is_locked_when_a_node_looks_ends_again(engine: AsyncEngine) -> None:
    flow, inner = Workflow("outer"), Workflow("inner")
    node = inner.add(one.new(), name="node")
    flow.add(inner, name="inner")
    await commit(engine, flow)
    await end(engine, node.id, "discarded")
    await release(engine)
    states = "SELECT state FROM oban_workflows ORDER BY id"
    assert await execute(engine, states) == [("failed",), ("failed",)]
    assert await Oban(engine).retry(node) == 1
    await end(engine, node.id, "completed")
    async with engine.connect() as holder:
        await holder.execute(text(f"SELECT FROM oban_workflows WHERE id = {inner.id} FOR UPDATE"))
        await release(engine)
    await release(engine)
    assert await execute(engine, states) == [("completed",), ("completed",)]
