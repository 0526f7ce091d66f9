"""Jobs in transactions that are prepared, and in processes that choose to wake no node."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, make_url, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from oban_sqla import InvalidOption, Job, JobSpec, Oban, embedded, job, migrations, use_notify
from tests.enqueueing.conftest import recorded
from tests.runtime.helpers import until


@job(queue="two_phase")
async def quick() -> None: ...


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with embedded.start(settings={"fsync": False, "max_prepared_transactions": 5}) as started:
        yield started.url


@pytest.fixture
async def prepares(server: str) -> AsyncIterator[AsyncEngine]:
    """An engine on a server that takes prepared transactions."""
    engine = create_async_engine(server)
    await migrations.migrate(engine)
    yield engine
    await engine.dispose()


@pytest.fixture
def plain(prepares: AsyncEngine) -> Iterator[Engine]:
    engine = create_engine(make_url(prepares.url).set(drivername="postgresql+psycopg"))
    yield engine
    engine.dispose()


async def test_a_two_phase_commit_with_a_job_needs_no_node_in_the_process(plain: Engine, prepares: AsyncEngine) -> None:
    with Session(plain, twophase=True) as session:
        session.add(spec := quick.new())
        session.commit()
    async with AsyncSession(prepares, twophase=True) as session:
        assert await session.get(Job, spec.id) is not None
        assert await Oban(prepares).cancel(spec, session) == 1
        await session.commit()


async def test_a_two_phase_commit_wakes_the_node_of_its_process(prepares: AsyncEngine) -> None:
    async with Oban(prepares, queues={"two_phase": 1}, poll_interval=3600):
        async with AsyncSession(prepares, twophase=True) as session:
            session.add(spec := quick.new())
            await session.commit()
        assert spec.id is not None
        await until(prepares, spec.id, "completed")


async def test_a_process_without_a_node_can_choose_not_to_notify(sync_engine: Engine) -> None:
    def notifications() -> list[str]:
        with Session(sync_engine) as session, recorded(session) as statements:
            session.add(JobSpec("sync"))
            session.commit()
            assert session.scalars(select(Job.worker)).first() == "sync"
        return [statement for statement in statements if "pg_notify" in statement]

    assert len(notifications()) == 1
    use_notify("off")
    try:
        assert notifications() == []
    finally:
        use_notify("transaction")
    assert len(notifications()) == 1


@pytest.mark.parametrize("mode", ["auto", "of", None])
def test_another_way_to_notify_is_refused(mode: Any) -> None:
    with pytest.raises(InvalidOption, match='use_notify: expected "transaction" or "off", got'):
        use_notify(mode)
