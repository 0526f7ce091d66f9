"""The primary is lost, and its standby is promoted: nodes and sessions whose URL names both go on there."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import make_url, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine

from oban_sqla import Job, JobState, Oban, embedded, migrations
from tests.faults.jobs import note, ran
from tests.support import eventually


class Pair:
    """A primary and its synchronous standby, on which every commit is before it is answered.

    :ivar hosts: of both, for the query of a URL.
    """

    def __init__(self, primary: Path, standby: Path, stack: ExitStack) -> None:
        self._primary = primary
        server = stack.enter_context(embedded.start(primary, {"synchronous_standby_names": "*"}))
        host = make_url(server.url).query["host"]
        (standby / "standby.signal").touch()
        follows = {"primary_conninfo": f"host={host} port=5432 user=postgres"}
        self._standby = stack.enter_context(embedded.start(standby, follows)).url
        self.hosts = [f"{host}:5432", f"{make_url(self._standby).query['host']}:5432"]

    def lose_primary(self) -> None:
        os.kill(int((self._primary / "postmaster.pid").read_text().split()[0]), signal.SIGQUIT)

    async def promote(self) -> None:
        engine = create_async_engine(self._standby)
        async with engine.connect() as connection:
            assert (await connection.execute(text("SELECT pg_promote()"))).scalar_one()
        await engine.dispose()


@asynccontextmanager
async def replicated(directory: Path) -> AsyncGenerator[Pair]:
    """Two servers with a migrated database, of which the second has a copy of the first's data directory."""
    primary, standby = directory / "primary", directory / "standby"
    with embedded.start(primary) as server:
        engine = create_async_engine(server.url)
        await migrations.migrate(engine)
        await engine.dispose()
    shutil.copytree(primary, standby)
    _give(standby, primary.stat())
    with ExitStack() as stack:
        yield await asyncio.to_thread(Pair, primary, standby, stack)


async def test_no_committed_job_is_lost_or_run_twice_when_the_standby_takes_over(reachable: Path) -> None:
    async with replicated(reachable) as pair:
        query: dict[str, Any] = {"host": pair.hosts, "target_session_attrs": "read-write"}
        url = make_url("postgresql://postgres@/postgres").set(query=query)
        engines = [
            create_async_engine(url.set(drivername=f"postgresql+{driver}"), pool_pre_ping=True)
            for driver in ("asyncpg", "psycopg")
        ]
        committed = dict.fromkeys(engines, 0)

        async def application(engine: AsyncEngine) -> None:
            session = async_sessionmaker(engine)
            while True:
                try:
                    async with session.begin() as transaction:
                        transaction.add(note.new(0.01))
                except (OSError, DBAPIError):
                    await asyncio.sleep(0.05)
                else:
                    committed[engine] += 1

        async with Oban(engines[0], queues={"default": 5}), Oban(engines[1], queues={"default": 5}):
            adding = [asyncio.create_task(application(engine)) for engine in engines]
            await eventually(lambda: ran.total() > 20)
            pair.lose_primary()
            before = dict(committed)
            await pair.promote()
            await eventually(lambda: all(committed[engine] > before[engine] + 10 for engine in engines), 30)
            for task in adding:
                task.cancel()
            await asyncio.wait(adding)
            jobs = await eventually(lambda: ended(engines[0], sum(committed.values())), 30)
        for engine in engines:
            await engine.dispose()
    assert ran == {(job_id, 1): 1 for job_id in jobs}


def _give(directory: Path, owner: os.stat_result) -> None:
    """What root has copied belongs to root."""
    for path in [directory, *directory.rglob("*")]:
        os.chown(path, owner.st_uid, owner.st_gid)


async def ended(engine: AsyncEngine, committed: int) -> list[int]:
    """The ids of all jobs, once every one is completed."""
    async with engine.connect() as connection:
        rows = (await connection.execute(select(Job.id, Job.state))).all()
    assert {state for _, state in rows} == {JobState.COMPLETED}
    assert len(rows) >= committed, "one whose commit was not answered may be there, too"
    return [row.id for row in rows]
