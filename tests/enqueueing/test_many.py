"""Bulk: one statement a chunk, whatever the jobs have in common."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from oban_sqla import Job, JobSpec, Unique, enqueue
from tests.enqueueing.conftest import recorded

THEN = datetime(2100, 1, 1, tzinfo=UTC)


def different(number: int) -> JobSpec:
    """A spec that differs from its neighbours in every option."""
    due: list[dict[str, Any]] = [{}, {"schedule_in": 60 + number}, {"scheduled_at": THEN + timedelta(seconds=number)}]
    return JobSpec(
        f"worker_{number % 7}",
        {"n": number},
        queue=f"queue_{number % 11}",
        priority=number % 10,
        max_attempts=1 + number % 32_767,
        tags=[f"tag {number}", 'qu"oted\\,'][: number % 3],
        meta={"m": number} if number % 2 else None,
        unique=Unique() if number % 5 == 0 else None,
        **due[number % 3],
    )


def written(spec: JobSpec) -> tuple[Any, ...]:
    return (spec.id, spec.state, spec.worker, spec.args["n"], spec.queue, spec.priority, spec.max_attempts, spec.tags)


def stored(session: Session) -> list[tuple[Any, ...]]:
    columns = (Job.id, Job.state, Job.worker, Job.args["n"].as_integer(), Job.queue, Job.priority, Job.max_attempts)
    rows = session.execute(select(*columns, Job.tags, Job.meta, Job.scheduled_at).order_by(Job.id)).all()
    for *_, number, _queue, _priority, _attempts, _tags, meta, scheduled_at in rows:
        assert meta == ({"m": number} if number % 2 else {})
        assert number % 3 != 2 or scheduled_at == THEN + timedelta(seconds=number)
    return [(*row[:7], tuple(row.tags)) for row in rows]


def check_many(session: Session, count: int, most: int) -> None:
    specs = [different(number) for number in range(count)]
    with recorded(session) as statements:
        session.add_all(specs)
        session.commit()
    inserts = [sql for sql in statements if "INTO oban_jobs" in sql]
    assert len(inserts) <= most
    assert len(statements) - len(inserts) <= 3

    assert stored(session) == sorted(written(spec) for spec in specs)
    plain = [spec.id or 0 for spec in specs if spec.unique is None]
    assert plain == sorted(plain)
    assert [spec for spec in specs if spec.conflict] == []


def test_ten_thousand_different_specs_are_two_inserts(sync_engine: Engine) -> None:
    with Session(sync_engine) as session:
        check_many(session, 10_000, 2)


async def test_ten_thousand_different_specs_are_two_inserts_on_asyncpg(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        await session.run_sync(check_many, 10_000, 2)


async def test_enqueue_consumes_a_generator_in_chunks(engine: AsyncEngine) -> None:
    sent_before: list[int] = []

    def consume(session: Session) -> list[JobSpec]:
        def specs() -> Iterator[JobSpec]:
            for number in range(12_000):
                sent_before.append(sum("INTO oban_jobs" in sql for sql in statements))
                yield JobSpec("number", {"n": number})

        with recorded(session) as statements:
            return enqueue(session, specs())

    async with AsyncSession(engine) as session:
        enqueued = await session.run_sync(consume)
        await session.commit()
    assert [sent_before.count(inserts) for inserts in (0, 1, 2)] == [5_000, 5_000, 2_000]
    assert [spec.args["n"] for spec in enqueued] == list(range(12_000))
    ids = [spec.id for spec in enqueued if spec.id is not None]
    assert ids == sorted(set(ids))
    assert len(ids) == 12_000
