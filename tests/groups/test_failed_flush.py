"""Batches whose flush fails, or that are deleted while a job is added."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from sqlalchemy import event, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from oban_sqla import Batch, InvalidArgs, Job, JobSpec, Oban, enqueue, job, later
from tests.enqueueing.test_copies import COPIES
from tests.runtime.helpers import execute
from tests.support import eventually

T = TypeVar("T")


@job(name="failed_flush.note")
async def note(n: int) -> None: ...


async def once(engine: AsyncEngine, scenario: Callable[[Session], T]) -> T:
    async with AsyncSession(engine) as session:
        return await session.run_sync(scenario)


def missing() -> int:
    raise LookupError("not yet")


def fail(session: Session, *objects: Any) -> None:
    """Add these; the flush writes the row of each batch, and fails after that."""
    session.add_all([*objects, late := note.new(later(missing))])
    with pytest.raises((LookupError, InvalidArgs)):
        session.flush()
    session.rollback()
    assert late not in session


async def test_jobs_of_a_batch_whose_flush_has_failed_are_not_written_by_the_next_one(engine: AsyncEngine) -> None:
    def scenario(session: Session) -> list[str]:
        batch = Batch([note.new(1)])
        session.add(batch)

        def refuse(*_: Any) -> None:
            raise RuntimeError("refused")

        event.listen(Batch, "after_insert", refuse)
        try:
            with pytest.raises(RuntimeError, match="refused"):
                session.flush()
        finally:
            event.remove(Batch, "after_insert", refuse)
        session.rollback()
        session.add(JobSpec("alone"))
        session.commit()
        return list(session.scalars(select(Job.worker)))

    assert await once(engine, scenario) == ["alone"]


async def test_a_batch_whose_flush_has_failed_is_added_again(engine: AsyncEngine) -> None:
    def scenario(session: Session) -> None:
        batch = Batch([note.new(1)], on_completed=note.new(2))
        fail(session, batch)
        assert batch.id is None
        batch.add(note.new(3))
        session.add(batch)
        session.commit()
        assert [spec.args["n"] for spec in session.scalars(select(Job).order_by(Job.id))] == [1, 3]
        assert session.scalars(select(Job.batch_id)).all() == [batch.id, batch.id]

    await once(engine, scenario)


async def test_a_job_that_is_added_while_its_batch_is_deleted_goes_with_it(engine: AsyncEngine) -> None:
    oban = Oban(engine)
    batch = Batch([note.new(1)])
    async with AsyncSession(engine) as session, session.begin():
        session.add(batch)
    async with AsyncSession(engine) as adding:
        await enqueue(adding, note.new(2), batch=batch)
        deleting = asyncio.create_task(oban.delete(batch))
        waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        await eventually(lambda: execute(engine, waiting))
        await adding.commit()
    assert await deleting == 2
    assert await execute(engine, "SELECT count(*) FROM oban_jobs") == [(0,)]
    assert await execute(engine, "SELECT count(*) FROM oban_batches") == [(0,)]


@pytest.mark.parametrize("way", COPIES)
async def test_a_copy_of_a_job_in_a_batch_is_in_none_and_a_copy_of_the_batch_has_its_own(
    engine: AsyncEngine, way: str
) -> None:
    def scenario(session: Session) -> None:
        batch = Batch([note.new(1)])
        other, whole = COPIES[way](batch.unwritten[0][0]), copy.deepcopy(batch)
        session.add_all([batch, other, whole])
        session.flush()
        written = COPIES[way](batch.unwritten[0][0])
        session.add(written)
        session.commit()
        found: list[int | None] = list(session.scalars(select(Job.batch_id).order_by(Job.id)))
        assert sorted(found, key=str) == sorted([batch.id, whole.id, None, None], key=str)
        assert batch.id != whole.id

    await once(engine, scenario)
