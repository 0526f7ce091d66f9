"""A node of oban-py 0.7 on the same database: a process in an environment of its own.

``OBAN_PY_PYTHON`` names an interpreter that has it. Without, one is made once in the user's cache, by a Python of 3.12
or newer from this machine and pip.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import JobSpec, Oban, job
from oban_sqla.insight.doctor import examine
from oban_sqla.options import heartbeat
from tests.cluster.helpers import QUICK
from tests.runtime.helpers import insert, load, until
from tests.support import eventually

VERSION = "0.7.0"
FAST: dict[str, Any] = {"poll_interval": 3600.0}
"""Nothing is found by polling: whatever happens was told."""


@job(name="interop.ours", queue="ours")
async def ours() -> None: ...


@pytest.fixture(scope="session")
def oban_py() -> str:
    """An interpreter that has oban-py."""
    if given := os.environ.get("OBAN_PY_PYTHON"):
        return given
    base = next(
        (python for python in _pythons() if _says(python, "import sys; print(sys.version_info >= (3, 12))")), None
    )
    if base is None:
        pytest.skip("oban-py needs Python 3.12 or newer, and there is none on this machine")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "oban-sqla"
    home = cache / f"oban-py-{VERSION}"
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other workers, and other checkouts, wait for the first
        return _installed(base, home / "venv")


def _installed(base: str, home: Path) -> str:
    python = str(home / "bin" / "python")
    if not _says(python, "import oban, psycopg_pool; print(True)"):
        shutil.rmtree(home, ignore_errors=True)
        install = [python, "-m", "pip", "install", "--quiet", f"oban=={VERSION}", "psycopg[binary,pool]"]
        for command in ([base, "-m", "venv", str(home)], install):
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
            if done.returncode != 0:
                pytest.skip(f"oban-py {VERSION} could not be installed: {(done.stderr or done.stdout)[-300:]}")
    return python


def _pythons() -> list[str]:
    named = [shutil.which(f"python3.{minor}") for minor in (12, 13, 14)]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    return [python for python in named if python] + [str(path) for path in sorted(pyenv.glob("3.1[2-9]*/bin/python3"))]


def _says(python: str, code: str) -> bool:
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    except OSError:
        return False
    return done.stdout.strip() == "True"


class Foreign:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def ask(self, *command: Any) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        return await self.answer()

    async def answer(self) -> Any:
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), 30)
        assert line, "oban-py has ended; see its standard error"
        return json.loads(line)


@asynccontextmanager
async def running(oban_py: str, database_url: str) -> AsyncGenerator[Foreign]:
    """A node of oban-py, with the queue `theirs`."""
    url = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    process = await asyncio.create_subprocess_exec(
        oban_py, "-c", "import oban_py_node; oban_py_node.run()", url,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parent,
    )  # fmt: skip
    node = Foreign(process)
    try:
        assert await node.answer() == "ready"
        yield node
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined]


@pytest.fixture
async def foreign(oban_py: str, engine: AsyncEngine, database_url: str) -> AsyncIterator[Foreign]:
    async with running(oban_py, database_url) as node:
        yield node


async def test_what_it_enqueues_we_run(engine: AsyncEngine, foreign: Foreign) -> None:
    async with Oban(engine, queues={"ours": 5}, **FAST):
        job_id = await foreign.ask("enqueue", "interop.ours", "ours")
        assert (await until(engine, job_id, "completed")).attempt == 1


async def test_what_we_enqueue_it_runs(engine: AsyncEngine, foreign: Foreign) -> None:
    async with Oban(engine, queues={"ours": 5}, **FAST):
        [job_id] = await insert(engine, JobSpec("oban_py_node.Theirs", queue="theirs"))
        assert (await until(engine, job_id, "completed")).attempted_by[0] == "oban-py"


async def test_its_living_jobs_are_never_rescued(engine: AsyncEngine, foreign: Foreign) -> None:
    async with Oban(engine, **QUICK):  # stale after 0.4 s, if it were one of ours
        [job_id] = await insert(engine, JobSpec("oban_py_node.Theirs", {"seconds": 4}, queue="theirs"))
        job = await until(engine, job_id, "completed")
        assert (job.attempt, job.meta, job.errors) == (1, {}, [])


async def test_the_jobs_of_a_dead_one_are(
    engine: AsyncEngine, foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "FOREIGN_STALE_AFTER", 2.0)
    async with Oban(engine, **QUICK):
        [job_id] = await insert(engine, JobSpec("oban_py_node.Theirs", {"seconds": 600}, queue="theirs"))
        await until(engine, job_id, "executing")
        foreign.process.kill()
        assert (await until(engine, job_id, "available")).meta == {"rescued": 1}


async def test_it_does_not_lead_while_we_do(engine: AsyncEngine, oban_py: str, database_url: str) -> None:
    """Its leader would rescue by time alone: whatever runs for more than five minutes."""
    async with Oban(engine), running(oban_py, database_url) as foreign:
        assert await foreign.ask("leads") is False


async def test_the_doctor_warns_when_it_leads(engine: AsyncEngine, foreign: Foreign) -> None:
    async def leads() -> bool:
        return bool(await foreign.ask("leads"))

    await eventually(leads)
    [found] = [finding for finding in await examine(engine) if finding.check == "foreign_leader"]
    assert (found.status, found.found) == ("warning", "oban-py, a node of oban-py or Oban, leads 'Oban'")
    async with Oban(engine, queues={"ours": 1}):
        # Its lease is its own until it ends; ours is beside it.
        said = {finding.check: finding for finding in await examine(engine)}
        assert (said["foreign_leader"].status, said["leader"].status) == ("warning", "ok")
        assert "1 of another program" in said["living_nodes"].found
        foreign.process.kill()
        await eventually(lambda: _none_leads(engine), 60, interval=0.5)


async def _none_leads(engine: AsyncEngine) -> bool:
    return all(finding.status == "ok" for finding in await examine(engine) if finding.check == "foreign_leader")


async def test_a_pause_crosses_in_both_directions(engine: AsyncEngine, foreign: Foreign) -> None:
    async with Oban(engine, queues={"ours": 5}, **FAST) as oban:
        await foreign.ask("pause", "ours")
        await eventually(lambda: (queue := oban.check_queue("ours")) is not None and queue.paused)

        async def paused() -> bool:
            await oban.pause_queue("theirs")  # again and again: oban-py says that it has started before it listens
            return bool(await foreign.ask("paused", "theirs"))

        await eventually(paused)
        [job_id] = await insert(engine, JobSpec("oban_py_node.Theirs", queue="theirs"))
        await oban.resume_queue("theirs")
        await until(engine, job_id, "completed")
        await oban.resume_queue("ours")
        assert (await load(engine, job_id)).attempt == 1
