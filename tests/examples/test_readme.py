"""The README: its code and its commands run, and it stays short."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.processes import ROOT, finished, running
from tests.support import eventually

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
HELLO, APPLICATION, ROLLBACK, REVISION = (text for language, text in BLOCKS if language == "python")
TRY, FIRST, START = (text.splitlines() for language, text in BLOCKS if language == "sh")


def command(line: str) -> list[str]:
    """A line of the README, without its comment, as arguments of Python."""
    name, *rest = line.partition("#")[0].split()
    return rest if name == "python" else ["-m", {"oban-sqla": "oban_sqla"}.get(name, name), *rest]


def as_platforms_write(url: str) -> str:
    """Without a driver, which an engine alone would not take."""
    return url.replace("postgresql+asyncpg://", "postgres://")


def code(block: str) -> list[str]:
    return [line for line in block.splitlines() if line.strip() and not line.startswith("#")]


def test_it_is_short_and_its_first_screen_has_two_commands_and_twelve_lines_of_code() -> None:
    assert len(README.splitlines()) <= 180
    assert len(TRY) == 2
    assert len(code(HELLO)) == 12
    assert len(README[: README.index(HELLO) + len(HELLO)].splitlines()) <= 36
    assert 25 <= len(code(APPLICATION)) <= 40
    assert len(ROLLBACK.splitlines()) == 6


def test_its_first_two_commands_install_and_run_the_demo() -> None:
    install, demo = TRY
    extras = re.findall(r"pip install '\.\[([\w,]+)\]'", install)[0].split(",")
    assert set(extras) <= set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    assert finished([*command(demo), "--help"]).returncode == 0  # tests/cli/test_demo.py runs it


async def test_its_first_twelve_lines_run_by_its_commands(tmp_path: Path, empty_database: str) -> None:
    (tmp_path / "hello.py").write_text(HELLO)
    environment = {"DATABASE_URL": as_platforms_write(empty_database), "PYTHONUNBUFFERED": "1"}
    export, migrate, enqueue, start = FIRST
    assert export.startswith("export DATABASE_URL=")
    for line in (migrate, enqueue):
        done = finished(command(line), tmp_path, environment)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
    with running(command(start), tmp_path / "log", tmp_path, environment) as process:
        await process.says("Hello, Ada!")


@pytest.fixture
def app(tmp_path: Path, empty_database: str) -> dict[str, str]:
    """The web application as app.py, on a database with tables; gives the environment."""
    (tmp_path / "app.py").write_text(APPLICATION)
    environment = {"DATABASE_URL": as_platforms_write(empty_database), "PYTHONUNBUFFERED": "1"}
    done = finished(command("oban-sqla migrate"), tmp_path, environment)
    assert done.returncode == 0, done.stderr
    return environment


async def test_its_web_application_runs_jobs(tmp_path: Path, app: dict[str, str]) -> None:
    serve = [*command(re.findall(r"`(uvicorn .+)`", README)[0]), "--port", "0"]
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


async def test_its_workers_run_in_a_separate_process(tmp_path: Path, app: dict[str, str]) -> None:
    with running(command(START[0]), tmp_path / "log", tmp_path, app) as process:
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


def test_every_make_target_and_file_that_it_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"`make (\w+)`", README))
    files = {*re.findall(r"\]\(([\w/.]+)\)", README), *re.findall(r"`(examples/[\w/.]+)`", README)}
    assert targets
    assert len(files) > 5
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
    assert [file for file in files if not (ROOT / file).exists()] == []
