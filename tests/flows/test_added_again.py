"""Workflows that were not written the first time, and those that a listener adds."""

from __future__ import annotations

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from oban_sqla import InvalidArgs, Oban, Workflow, job, later


@job(name="added_again.note")
async def note(what: str = "") -> None: ...


def division_by_zero() -> str:
    return str(1 / 0)


async def commit(engine: AsyncEngine, flow: Workflow) -> None:
    async with AsyncSession(engine) as session, session.begin():
        session.add(flow)


async def test_a_workflow_that_has_conflicted_is_added_again(engine: AsyncEngine) -> None:
    first, second = (Workflow("one", unique="key") for _ in range(2))
    for flow in (first, second):
        flow.add(note.new())
    await commit(engine, first)
    await commit(engine, second)
    assert second.conflict
    await Oban(engine).delete(first)
    await commit(engine, second)
    assert not second.conflict
    assert second.id not in (None, first.id)


@pytest.mark.parametrize("way", ["rollback", "savepoint", "failed flush"])
async def test_a_workflow_with_another_inside_is_added_again_after_a_rollback(engine: AsyncEngine, way: str) -> None:
    flow, inner, deepest = (Workflow(name) for name in ("outer", "inner", "deepest"))
    first = flow.add(note.new())
    flow.add(inner, after=first)
    inner.add(deepest)
    inner.add(note.new())
    deepest.add(note.new())

    def undone(session: Session) -> None:
        session.add(flow)
        match way:
            case "rollback":
                session.flush()
                session.rollback()
            case "savepoint":
                with session.begin_nested() as savepoint:
                    session.flush()
                    savepoint.rollback()
            case _:
                session.add(note.new(later(division_by_zero)))
                with pytest.raises(InvalidArgs, match="ZeroDivisionError"):
                    session.flush()
                session.rollback()

    async with AsyncSession(engine, expire_on_commit=False) as session:
        await session.run_sync(undone)
        session.add(flow)
        await session.commit()
        rows = {each.name: (each.id, each.parent_id, each.root_id) for each in (flow, inner, deepest)}
    assert rows == {
        "outer": (flow.id, None, None),
        "inner": (inner.id, flow.id, flow.id),
        "deepest": (deepest.id, inner.id, flow.id),
    }


async def test_a_workflow_that_a_listener_of_the_flush_adds_has_all_of_its_parts(engine: AsyncEngine) -> None:
    flow, inner, deepest = (Workflow(name) for name in ("outer", "inner", "deepest"))
    flow.add(inner)
    inner.add(deepest)
    deepest.add(note.new())

    def scenario(session: Session) -> None:
        def add(session: Session, *_: object) -> None:
            if flow.id is None:
                session.add(flow)

        event.listen(session, "before_flush", add)
        session.add(note.new())
        session.commit()

    async with AsyncSession(engine, expire_on_commit=False) as session:
        await session.run_sync(scenario)
        assert (inner.parent_id, inner.root_id) == (flow.id, flow.id)
        assert (deepest.parent_id, deepest.root_id) == (inner.id, flow.id)
