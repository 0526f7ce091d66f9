"""``oban-sqla top``: one picture, and a screen that is left with Ctrl-C."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import struct
import termios
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from oban_sqla import JobSpec, Oban, Queue, migrations
from oban_sqla.cli import main
from tests.forkserver import Program
from tests.processes import ROOT, clean_environment, finished
from tests.runtime.helpers import execute, insert
from tests.support import eventually

pytest.importorskip("rich")

Call = Callable[..., Coroutine[Any, Any, Result]]


@pytest.fixture
def call(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setenv("COLUMNS", "160")

    async def call(*arguments: str) -> Result:
        given = ["top", *arguments, "--database-url", database_url]
        return await asyncio.to_thread(CliRunner().invoke, main, given)

    return call


async def test_one_picture_has_queues_jobs_leader_and_nodes(call: Call, engine: AsyncEngine) -> None:
    async with Oban(engine, {"media": Queue(limit=3, paused=True), "default": 10}, node="here") as oban:
        await eventually(lambda: oban.is_leader)
        await insert(engine, JobSpec("w", queue="media"), JobSpec("w", queue="media", schedule_in=60))
        await execute(
            engine,
            "INSERT INTO oban_jobs (worker, queue, state, attempt, attempted_by, attempted_at) "
            "VALUES ('app.[bold]', 'elsewhere', 'executing', 2, ARRAY['there'], now() AT TIME ZONE 'UTC' - "
            "interval '90 s')",
        )
        await execute(
            engine,
            "INSERT INTO oban_jobs (worker, queue, state, completed_at) "
            "SELECT 'w', 'default', 'completed', now() AT TIME ZONE 'UTC' FROM generate_series(1, 3600)",
        )
        result = await call("--once", "--interval", "3600")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert "Oban: 1 node (here); leader: here; 1.0 jobs/s" in lines[0]
    rows = {line.split()[0]: line.split() for line in lines if line}
    assert rows["QUEUE"][1:] == [
        "AVAIL", "SCHED", "RETRY", "EXEC", "JOBS/S", "LIMIT", "NODES", "STATE", "OLDEST",
    ]  # fmt: skip
    assert rows["default"][1:] == ["0", "0", "0", "0", "1.0", "10", "1", "running"]
    assert rows["media"][1:9] == ["1", "1", "0", "0", "0.0", "3", "1", "paused"]
    assert rows["elsewhere"][1:] == ["0", "0", "0", "1", "0.0", "0", "0", "not", "run"]
    assert rows["JOB"] == ["JOB", "QUEUE", "WORKER", "NODE", "ATTEMPT", "AGE"]
    [running] = [line.split() for line in lines if "app." in line]
    assert running[1:5] == ["elsewhere", "app.[bold]", "there", "2/20"]
    assert " ".join(running[5:]) in ("1 min 30 s", "1 min 31 s", "1 min 32 s")


async def test_the_names_of_a_hundred_nodes_take_one_line_and_command_no_terminal(
    call: Call, engine: AsyncEngine
) -> None:
    await execute(
        engine,
        "INSERT INTO oban_producers (uuid, name, node, queue, updated_at) SELECT gen_random_uuid(), 'Oban', "
        "'node' || i || E'\\n\\x1b[31m', E'a\\nqueue', now() AT TIME ZONE 'UTC' FROM generate_series(100, 199) i",
    )
    result = await call("--once", "--interval", "3600")
    assert "\x1b" not in result.stdout
    lines = result.stdout.splitlines()
    named = ", ".join(f"node{i} \\u001b[31m" for i in range(100, 105))
    assert f"Oban: 100 nodes ({named} and 95 more); leader: none" in lines[0]
    assert any(line.startswith("a queue  ") for line in lines)


async def test_it_shows_how_far_jobs_have_come_where_one_tells_it(call: Call, engine: AsyncEngine) -> None:
    await execute(
        engine,
        "INSERT INTO oban_jobs (worker, state, attempt, attempted_by, attempted_at) "
        "SELECT 'app.' || n, 'executing', 1, ARRAY['there'], now() AT TIME ZONE 'UTC' FROM generate_series(1, 2) n",
    )
    await execute(engine, "INSERT INTO oban_progress (job_id, done, total) SELECT min(id), 30, 120 FROM oban_jobs")
    lines = (await call("--once")).stdout.splitlines()
    [head] = [line for line in lines if line.split()[:1] == ["JOB"]]
    assert head.split()[-1] == "DONE"
    assert [line.rstrip().endswith("25%") for line in lines if "app." in line] == [True, False]


async def test_without_nodes_none_leads(call: Call, engine: AsyncEngine) -> None:
    result = await call("--once")
    assert "Oban: 0 nodes; leader: none; 0.0 jobs/s" in result.stdout
    assert "other: 0 nodes" in (await call("--once", "--instance", "other")).stdout


async def test_another_program_that_leads_is_named(call: Call, engine: AsyncEngine) -> None:
    await execute(
        engine,
        "INSERT INTO oban_leaders VALUES ('Oban', 'elixir', now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC' "
        "+ interval '30 s')",
    )
    assert "another program leads, too: elixir (Oban)" in (await call("--once")).stdout


async def test_where_there_is_no_terminal_it_prints_one_picture(call: Call, engine: AsyncEngine) -> None:
    assert (await call()).stdout.count("leader: none") == 1


def test_without_rich_it_is_one_line(database_url: str) -> None:
    code = "import sys; sys.modules['rich'] = None; sys.modules['rich.console'] = None; import oban_sqla.cli as c; "
    done = finished(["-c", code + f"c.main(['top', '--once', '--database-url', {database_url!r}])"])
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: top needs rich: pip install 'oban-sqla[cli]'\n"


@pytest.mark.parametrize("interval", ["0", "-1", "soon"])
async def test_an_interval_that_can_t_be_is_a_usage_error(call: Call, engine: AsyncEngine, interval: str) -> None:
    assert (await call("--interval", interval)).exit_code == 2


async def draws(screen: Terminal, text: str) -> None:
    def drawn() -> bool:
        assert text in screen.text, screen.text[-4000:]
        return True

    await eventually(drawn, 20)


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, popen: Program, controller: int) -> None:
        self.popen = popen
        self._controller = controller
        self._seen = b""

    @property
    def text(self) -> str:
        """Everything that it has drawn so far."""
        try:
            while data := os.read(self._controller, 65_536):
                self._seen += data
        except OSError:  # nothing there, or its end is closed
            pass
        return self._seen.decode(errors="replace")


@contextmanager
def on_a_terminal(*arguments: str) -> Generator[Terminal]:
    controller, terminal = os.openpty()
    os.set_blocking(controller, False)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = clean_environment({"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"})
    popen = Program("oban_sqla", ["top", *arguments], ROOT, environment).start([terminal] * 3)
    os.close(terminal)
    try:
        yield Terminal(popen, controller)
    finally:
        popen.kill()
        popen.wait()
        os.close(controller)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_screen_follows_until_ctrl_c(engine: AsyncEngine, database_url: str, number: signal.Signals) -> None:
    await insert(engine, JobSpec("w", queue="first"))
    with on_a_terminal("--interval", "0.1", "--database-url", database_url) as screen:
        await draws(screen, "first")
        await insert(engine, JobSpec("w", queue="second"))
        await draws(screen, "second")
        screen.popen.send_signal(number)
        await eventually(lambda: screen.popen.poll() is not None)
        assert screen.popen.returncode == 0
        text = screen.text
    assert "\x1b[?1049h" in text
    assert text.rindex("\x1b[?1049l") > text.rindex("second"), "the terminal is as it was"
    assert "Traceback" not in text
    assert "Aborted" not in text


async def test_a_database_that_goes_away_is_told_and_waited_for(engine: AsyncEngine, empty_database: str) -> None:
    own = create_async_engine(empty_database)
    await migrations.migrate(own)
    await insert(own, JobSpec("w", queue="first"))
    name = own.url.database
    await own.dispose()
    with on_a_terminal("--interval", "0.1", "--database-url", empty_database) as screen:
        await draws(screen, "first")
        await execute(engine, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await execute(engine, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        await draws(screen, "out of date: ")
        await execute(engine, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await insert(own, JobSpec("w", queue="second"))
        await own.dispose()
        await draws(screen, "second")
        screen.popen.send_signal(signal.SIGINT)
        await eventually(lambda: screen.popen.poll() is not None)
        assert screen.popen.returncode == 0, screen.text
