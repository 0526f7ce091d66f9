"""Data directories that outlive their server."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from oban_sqla import embedded
from oban_sqla.embedded import server as server_module
from tests.embedded.conftest import OwnerFactory
from tests.support import eventually


async def execute(url: str, statement: str) -> object:
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            result = await connection.execute(text(statement))
            return result.scalar() if result.returns_rows else None
    finally:
        await engine.dispose()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "LOCK_WAIT", 0.1)


async def test_kept_data_survives_a_restart(place: Path, bindir: Path) -> None:
    with embedded.start(place / "data", bindir=bindir) as server:
        await execute(server.url, "CREATE TABLE kept AS SELECT 42 AS answer")
    assert not (place / "data" / "postmaster.pid").exists()
    async with embedded.start(str(place / "data"), bindir=bindir) as server:
        assert await execute(server.url, "SELECT answer FROM kept") == 42
        assert server.data == place / "data"
    assert "database system was shut down" in server.log.read_text()
    assert "was not properly shut down" not in server.log.read_text()


async def test_committed_rows_survive_the_owners_death(place: Path, owner: OwnerFactory) -> None:
    one = owner(place / "data").started()
    await execute(one.url, "CREATE TABLE kept AS SELECT 42 AS answer")
    one.process.send_signal(signal.SIGKILL)
    # At once: the next owner waits for the server of the last one.
    with embedded.start(place / "data") as server:
        assert await execute(server.url, "SELECT answer FROM kept") == 42
    assert "received fast shutdown request" in server.log.read_text()


@pytest.mark.usefixtures("impatient")
def test_second_start_in_this_process_is_refused(place: Path) -> None:
    with (
        embedded.start(place / "data"),
        pytest.raises(embedded.EmbeddedError, match=r"data' is in use by another server"),
    ):
        embedded.start(place / "data")
    with embedded.start(place / "data"):
        pass


@pytest.mark.usefixtures("impatient")
async def test_start_on_another_process_data_is_refused(place: Path, owner: OwnerFactory) -> None:
    one = owner(place / "data").started()
    with pytest.raises(embedded.EmbeddedError, match=r"data' is in use by another server"):
        embedded.start(place / "data")
    assert await execute(one.url, "SELECT 1") == 1


async def test_lock_ends_only_with_the_server(place: Path, owner: OwnerFactory) -> None:
    one = owner(place / "data").started()
    one.tell("stop")
    with embedded.start(place / "data"):
        await eventually(lambda: one.process.poll() is None)


def test_directory_with_something_else_in_it_is_refused(place: Path) -> None:
    (place / "letter.txt").write_text("dear")
    with pytest.raises(embedded.EmbeddedError, match="neither empty nor a PostgreSQL data directory"):
        embedded.start(place)
    assert [path.name for path in place.iterdir()] == ["letter.txt"]


def test_cluster_of_a_version_without_binaries_is_refused(place: Path) -> None:
    (place / "PG_VERSION").write_text("9.6\n")
    with pytest.raises(embedded.EmbeddedError, match="belongs to PostgreSQL 9, but the binaries found here are"):
        embedded.start(place)


def test_binaries_of_another_version_are_refused(place: Path, bindir: Path) -> None:
    (place / "PG_VERSION").write_text("9.6\n")
    with pytest.raises(embedded.EmbeddedError, match=r"belongs to PostgreSQL 9, but the given binaries are PostgreSQL"):
        embedded.start(place, bindir=bindir)


async def test_cluster_gets_the_binaries_of_its_version(place: Path, bindir: Path) -> None:
    with embedded.start(place / "data", bindir=bindir) as first:
        pass
    with embedded.start(place / "data") as second:
        assert second.version.split(".")[0] == first.version.split(".")[0]


def test_file_instead_of_a_directory_is_refused(place: Path) -> None:
    (place / "file").write_text("")
    with pytest.raises(embedded.EmbeddedError, match="is a file"):
        embedded.start(place / "file")


def test_missing_parent_directory_is_named(place: Path) -> None:
    with pytest.raises(embedded.EmbeddedError, match=r"missing' is not a directory. Create that first"):
        embedded.start(place / "missing" / "data")
    assert list(place.iterdir()) == []


def test_failed_start_leaves_no_new_directory(place: Path, tmp_path: Path) -> None:
    with pytest.raises(embedded.EmbeddedError, match="no such directory"):
        embedded.start(place / "data", bindir=tmp_path / "missing")
    assert list(place.iterdir()) == []


async def test_existing_empty_directory_is_initialised(place: Path) -> None:
    (place / "data").mkdir(0o755)
    with embedded.start(place / "data") as server:
        assert await execute(server.url, "SELECT 1") == 1


def test_failing_setting_keeps_the_data(place: Path) -> None:
    with embedded.start(place / "data"):
        pass
    with pytest.raises(embedded.EmbeddedError, match="no_such_thing") as failure:
        embedded.start(place / "data", {"no_such_thing": 1})
    assert "shut down" not in str(failure.value)  # only the log of this start
    with embedded.start(place / "data"):
        pass


async def test_stale_pid_file_of_a_crash_is_not_taken_for_a_running_server(place: Path, owner: OwnerFactory) -> None:
    one = owner(place / "data").started()
    stale = (place / "data" / "postmaster.pid").read_text()
    one.process.send_signal(signal.SIGKILL)
    await eventually(lambda: not (place / "data" / "postmaster.pid").exists())
    status = (place / "data").stat()
    (place / "data" / "postmaster.pid").write_text(stale)
    if os.geteuid() == 0:
        os.chown(place / "data" / "postmaster.pid", status.st_uid, status.st_gid)
    with embedded.start(place / "data") as server:
        assert await execute(server.url, "SELECT 1") == 1
