"""A prepared transaction, a standby and its replication slot: on servers of the test's own."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from oban_sqla import embedded, migrations
from oban_sqla.embedded import Server
from oban_sqla.embedded.binaries import Account
from oban_sqla.insight.doctor import examine, storage
from tests.doctor.conftest import assert_skipped, one
from tests.runtime.helpers import execute
from tests.support import eventually


@pytest.fixture
def primary() -> Iterator[Server]:
    """A server of the test's own."""
    settings: dict[str, str | int | float | bool] = {
        "fsync": False,
        "max_prepared_transactions": 5,
        "wal_level": "replica",
        "max_wal_senders": 5,
    }
    with embedded.start(settings=settings) as server:
        yield server


@pytest.fixture
async def engine(primary: Server) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(primary.url)
    await migrations.migrate(engine)
    yield engine
    await engine.dispose()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is open counts as old."""
    monkeypatch.setattr(storage, "OLD", 0.0)
    monkeypatch.setattr(storage, "MANY_TRANSACTIONS", 1)


async def test_a_prepared_transaction_that_is_never_ended(engine: AsyncEngine, at_once: None) -> None:
    async with engine.connect() as connection:
        await connection.execute(text("INSERT INTO oban_queues (name, queue) VALUES ('x', 'y')"))
        await connection.execute(text("PREPARE TRANSACTION 'forgotten'"))
        await connection.rollback()
    finding = await one(engine, "oldest_transaction")
    assert finding.status == "warning"
    assert finding.found.startswith("the prepared transaction 'forgotten' of ")
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text("ROLLBACK PREPARED 'forgotten'"))
    assert (await one(engine, "oldest_transaction")).status == "ok"


@asynccontextmanager
async def standby_of(primary: Server, directory: Path, slot: str | None) -> AsyncGenerator[Server]:
    """A standby, with a slot or without, which tells the primary what its own queries need."""
    backup = primary.binaries.bindir / "pg_basebackup"
    if not backup.exists():
        pytest.skip("there is no pg_basebackup beside the server's binaries")
    at = make_url(primary.url)
    data = directory / "standby"
    copy = [str(backup), "-D", str(data), "-h", str(at.query["host"]), "-p", str(at.query["port"]), "-U", "postgres"]
    copy += ["-R", "-c", "fast", *(["-C", "-S", slot] if slot else [])]
    done = await asyncio.to_thread(subprocess.run, copy, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    with (data / "postgresql.auto.conf").open("a") as settings:
        settings.write("hot_standby_feedback = on\nwal_receiver_status_interval = 1\n")
    if (account := Account.for_server()) is not None:
        for path in [data, *data.rglob("*")]:
            os.chown(path, account.uid, account.gid, follow_symlinks=False)
    server = embedded.start(data, settings={"max_prepared_transactions": 5}, bindir=primary.binaries.bindir)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def directory() -> Iterator[Path]:
    """One that the server's account may enter."""
    made = Path(tempfile.mkdtemp(prefix="oban-doctor-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


async def test_a_standby_is_told_from_a_primary_and_what_it_holds_back(
    primary: Server, engine: AsyncEngine, directory: Path, at_once: None
) -> None:
    async with standby_of(primary, directory, "mirror") as standby:
        reader = create_async_engine(standby.url)
        try:
            findings = await examine(reader)
            # The tables of leaders and producers are UNLOGGED; of the jobs, everything can be read.
            assert_skipped(findings, ["living_nodes", "leader", "foreign_leader", "dead_nodes", "limits", "orphans"])
            found = {finding.check: finding for finding in findings}
            assert found["standby"].status == "problem"
            assert "cannot access temporary or unlogged relations during recovery" in found["living_nodes"].found
            assert found["schema_version"].status == "ok"
            async with reader.connect() as query:
                await query.execution_options(isolation_level="REPEATABLE READ")
                await query.execute(text("SELECT count(*) FROM oban_jobs"))

                async def held() -> bool:
                    await execute(engine, "SELECT txid_current()")
                    finding = await one(engine, "oldest_transaction")
                    return finding.found.startswith("the replication slot mirror (active) keeps the dead rows of ")

                await eventually(held, 20)
        finally:
            await reader.dispose()

    async def inactive() -> bool:
        finding = await one(engine, "oldest_transaction")
        return finding.advice == "drop it if its standby is gone: SELECT pg_drop_replication_slot('mirror')"

    await eventually(inactive, 20)
    await execute(engine, "SELECT pg_drop_replication_slot('mirror')")
    assert (await one(engine, "oldest_transaction")).status == "ok"


async def test_a_standby_without_a_slot_holds_rows_back_too(
    primary: Server, engine: AsyncEngine, directory: Path, at_once: None
) -> None:
    async with standby_of(primary, directory, None) as standby:
        reader = create_async_engine(standby.url)
        try:
            async with reader.connect() as query:
                await query.execution_options(isolation_level="REPEATABLE READ")
                await query.execute(text("SELECT count(*) FROM oban_jobs"))

                async def held() -> bool:
                    await execute(engine, "SELECT txid_current()")
                    finding = await one(engine, "oldest_transaction")
                    return finding.found.startswith("the standby ") and "hot_standby_feedback" in finding.advice

                await eventually(held, 20)
        finally:
            await reader.dispose()
