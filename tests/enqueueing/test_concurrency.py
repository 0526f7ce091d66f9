"""Unique jobs of many writers at once, on real connections."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from oban_sqla import Job, JobSpec, Unique
from oban_sqla.enqueueing import keyed
from tests.support import eventually

WRITERS, ROUNDS, KEYS = 8, 12, 40


async def test_writers_of_the_same_keys_never_deadlock_and_every_spec_finds_its_job(engine: AsyncEngine) -> None:
    specs: list[JobSpec] = []

    async def write(chance: random.Random) -> None:
        for _ in range(ROUNDS):
            # In any order, some twice, beside others that have no key.
            keys = chance.choices(range(KEYS), k=KEYS)
            batch = [JobSpec("sync", {"key": key}, unique=Unique()) for key in keys]
            batch += [JobSpec("plain", {"key": key}) for key in keys[:3]]
            chance.shuffle(batch)
            async with AsyncSession(many) as session:
                session.add_all(batch)
                await session.flush()
                if chance.random() < 0.2:
                    await session.rollback()
                    continue
                await session.commit()
            specs.extend(batch)

    many = create_async_engine(engine.url, pool_size=WRITERS)
    try:
        await asyncio.gather(*(write(random.Random(seed)) for seed in range(WRITERS)))
    finally:
        await many.dispose()

    async with AsyncSession(engine) as session:
        jobs = {job.id: job for job in await session.scalars(select(Job))}
    assert sum(job.worker == "sync" for job in jobs.values()) == KEYS
    for spec in specs:
        assert spec.id is not None
        assert (jobs[spec.id].worker, jobs[spec.id].args) == (spec.worker, spec.args)
    inserted = [spec.id or 0 for spec in specs if not spec.conflict]
    assert sorted(inserted) == sorted(jobs)


async def test_writers_of_jobs_that_complete_at_once_neither_deadlock_nor_give_up(engine: AsyncEngine) -> None:
    done = asyncio.Event()
    some = (
        "SELECT id FROM oban_jobs WHERE state = 'available' ORDER BY id LIMIT 3 FOR UPDATE SKIP LOCKED"  # as a node has
    )

    async def write(chance: random.Random) -> None:
        for _ in range(ROUNDS):
            async with AsyncSession(many) as session:
                session.add_all([JobSpec("sync", {"key": key}, unique=Unique()) for key in chance.sample(range(12), 6)])
                await session.commit()

    async def complete() -> None:
        while not done.is_set():
            async with many.begin() as connection:
                await connection.execute(text(f"UPDATE oban_jobs SET state = 'completed' WHERE id IN ({some})"))

    many = create_async_engine(engine.url, pool_size=WRITERS + 2)
    try:
        completing = [asyncio.ensure_future(complete()) for _ in range(2)]
        try:
            await asyncio.gather(*(write(random.Random(seed)) for seed in range(WRITERS)))
        finally:
            done.set()
            await asyncio.gather(*completing)
    finally:
        await many.dispose()


async def test_a_job_that_was_there_a_moment_ago_is_an_answer(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs that come and go faster than they are looked for keep no session from its end."""
    insert_new, holders = keyed.insert_new, keyed.holders
    is_inserted = False

    def inserts(*given: Any) -> Any:
        nonlocal is_inserted
        is_inserted = True
        return insert_new(*given)

    def looks(*given: Any) -> Any:
        nonlocal is_inserted
        found = {} if is_inserted else holders(*given)  # it is gone right after it was met
        is_inserted = False
        return found

    first, second = (JobSpec("sync", unique=Unique()) for _ in range(2))
    async with AsyncSession(engine) as session:
        session.add(first)
        await session.commit()
        monkeypatch.setattr(keyed, "insert_new", inserts)
        monkeypatch.setattr(keyed, "holders", looks)
        session.add(second)
        await session.commit()
    assert (second.conflict, second.id) == (True, first.id)


async def test_loser_of_a_race_waits_for_the_winner(engine: AsyncEngine) -> None:
    async def contend(session: AsyncSession) -> JobSpec:
        session.add(spec := JobSpec("sync", unique=Unique()))
        await session.commit()
        return spec

    for winner_commits in (True, False):
        async with AsyncSession(engine) as winner, AsyncSession(engine) as loser:
            winner.add(first := JobSpec("sync", unique=Unique()))
            await winner.flush()
            losing = asyncio.ensure_future(contend(loser))
            await _until_somebody_waits(engine)
            await (winner.commit() if winner_commits else winner.rollback())
            second = await losing
        assert second.conflict is winner_commits
        assert (second.id == first.id) is winner_commits
        async with AsyncSession(engine) as session:
            await session.execute(update(Job).values(state="completed"))
            await session.commit()


async def _until_somebody_waits(engine: AsyncEngine) -> None:
    waiting = text(
        "SELECT true FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' LIMIT 1"
    )

    async def somebody_waits() -> bool | None:
        async with engine.connect() as connection:
            return await connection.scalar(waiting)

    await eventually(somebody_waits)
