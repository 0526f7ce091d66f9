"""``oban-sqla start --reload``: a node that starts again when its program changes."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import JobSpec
from tests.processes import running
from tests.runtime.helpers import insert, until
from tests.support import eventually

BEFORE = "from oban_sqla import job\n@job\nasync def tell() -> None:\n    print('before', flush=True)\n"


async def test_a_changed_file_starts_the_node_again(
    tmp_path: Path, engine: AsyncEngine, database_url: str, clean_tables: None
) -> None:
    file = tmp_path / "shop.py"
    file.write_text(BEFORE)
    arguments = ["-m", "oban_sqla", "start", "shop", "--reload", "--node", "here"]
    with running(arguments, tmp_path / "log", tmp_path, {"OBAN_DATABASE_URL": database_url}) as process:
        await process.says("started on here")
        [first] = await insert(engine, JobSpec("shop.tell"))
        await until(engine, first, "completed", 30)
        await process.says("before")

        file.write_text("import no_such_module\n")
        await process.says("shop.py has changed: starting again")
        await process.says("No module named 'no_such_module'", 60)

        file.write_text(BEFORE.replace("before", "and after"))
        [second] = await insert(engine, JobSpec("shop.tell"))
        await until(engine, second, "completed", 60)
        await process.says("and after")

        process.signal(signal.SIGTERM)
        assert await process.ended(60) == 0
    assert process.text.count("stopped on here") == 2


HEEDING = (  # also where the tests run under nohup
    "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL); from oban_sqla.cli import main; main()"
)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL])
async def test_the_node_stops_when_its_terminal_is_closed_or_its_reloader_is_killed(
    tmp_path: Path, database_url: str, clean_tables: None, number: signal.Signals
) -> None:
    (tmp_path / "shop.py").write_text(BEFORE)
    arguments = ["-c", HEEDING, "start", "shop", "--reload", "--node", "here"]
    with running(arguments, tmp_path / "log", tmp_path, {"OBAN_DATABASE_URL": database_url}, fresh=True) as process:
        await process.says("started on here", 60)
        process.signal(number)
        assert await process.ended() == (0 if number == signal.SIGHUP else -number)
        await eventually(lambda: "stopped on here" in process.text)


def test_files_that_are_not_the_program_s_change_nothing(tmp_path: Path) -> None:
    from oban_sqla.cli.reload import _files

    for name in ("app/jobs.py", "app/data.json", ".git/hook.py", "env/pyvenv.cfg", "env/lib/x.py", "node_modules/y.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    assert [os.path.relpath(path, tmp_path) for path, _ in _files(tmp_path)] == ["app/jobs.py"]


STOPPED_BETWEEN = """
import os, signal, subprocess, sys
from pathlib import Path
from oban_sqla.cli import reload

looks = 0

def times(folder):
    global looks
    looks += 1
    if looks == 3:  # before the second child: the file has changed at the second look
        os.kill(os.getpid(), signal.SIGTERM)
    return {"shop.py": min(looks, 2)}

start = subprocess.Popen
reload._times = times
reload.subprocess.Popen = lambda *_, **__: start([sys.executable, "-c", "import time; time.sleep(600)"])
print("ended with", reload.reloading([], Path()))
"""


async def test_a_signal_that_comes_before_the_next_child_is_started_ends_it(tmp_path: Path) -> None:
    script = tmp_path / "stopped.py"
    script.write_text(STOPPED_BETWEEN)
    with running([str(script)], tmp_path / "log", tmp_path, fresh=True) as process:
        assert await process.ended() == 0
        assert "ended with -15" in process.text
