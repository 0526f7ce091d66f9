"""The README: its first screen runs, and it stays short."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.processes import ROOT, finished, running
from tests.support import eventually

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
APPLICATION, ROLLBACK, REVISION = (text for language, text in BLOCKS if language == "python")
COMMANDS, START = (text for language, text in BLOCKS if language == "sh")


def command(line: str) -> list[str]:
    """A line of the README, without its comment, as arguments of Python."""
    name, *rest = line.partition("#")[0].split()
    return ["-m", {"oban-sqla": "oban_sqla"}.get(name, name), *rest]


def test_it_is_short_and_begins_with_a_file_that_fits_on_a_screen() -> None:
    assert len(README.splitlines()) <= 180
    assert 25 <= len([line for line in APPLICATION.splitlines() if line.strip()]) <= 40
    assert README.index(APPLICATION) < 300
    assert len(ROLLBACK.splitlines()) == 6
    assert len(COMMANDS.splitlines()) == 2


@pytest.fixture
def app(tmp_path: Path, empty_database: str) -> dict[str, str]:
    """The first screen as app.py, on a database that its first command has migrated; gives the environment."""
    (tmp_path / "app.py").write_text(APPLICATION)
    environment = {"DATABASE_URL": empty_database, "PYTHONUNBUFFERED": "1"}
    done = finished(command(COMMANDS.splitlines()[0]), tmp_path, environment)
    assert done.returncode == 0, done.stderr
    return environment


async def test_its_first_screen_runs_by_its_commands(tmp_path: Path, app: dict[str, str]) -> None:
    serve = [*command(COMMANDS.splitlines()[1]), "--port", "0"]
    with running(serve, tmp_path / "log", tmp_path, app) as process:
        (address,) = re.findall(r"running on (http://\S+)", await process.says("Uvicorn running on"))
        async with httpx.AsyncClient(base_url=address, trust_env=False) as web:
            answer = await web.post("/users", params={"email": "ada@example.org"})
            assert answer.json() == {"id": 1}
            await process.says("welcome, user 1")

            async def history() -> Any:
                past = (await web.get("/jobs")).json()
                return past if past[0][2] == "completed" else None

            assert await eventually(history) == [["app.send_welcome", {"user_id": 1}, "completed"]]


async def test_its_workers_run_by_the_command(tmp_path: Path, app: dict[str, str]) -> None:
    with running(command(START), tmp_path / "log", tmp_path, app) as process:
        await process.says("with queues default, media")


def test_its_rollback_leaves_no_job(tmp_path: Path, app: dict[str, str]) -> None:
    lines = [
        "import asyncio",
        "from app import *",
        "async def main():",
        "    async with engine.begin() as connection:",
        "        await connection.run_sync(Base.metadata.create_all)",
        *(f"    {line}" for line in ROLLBACK.splitlines()),
        "    print('rolled back', welcome.id)",
        "    await engine.dispose()",
        "asyncio.run(main())",
    ]
    (tmp_path / "rollback.py").write_text("\n".join(lines))
    done = finished(["rollback.py"], tmp_path, app)
    assert (done.stdout, done.stderr) == ("rolled back 1\n", "")


def test_its_revision_is_what_the_example_has() -> None:
    example = (ROOT / "examples/fastapi_app/alembic/versions/0001_users_and_jobs.py").read_text()
    for line in ("from oban_sqla import migrations", "migrations.upgrade(op)", "migrations.downgrade(op, version=0)"):
        assert line in REVISION
        assert line in example


def test_every_name_of_make_and_of_a_file_in_it_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"`make (\w+)`", README))
    assert targets
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
    assert all((ROOT / "examples" / name).exists() for name in ("quickstart.py", "fastapi_app"))
