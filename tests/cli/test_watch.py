"""``oban-sqla jobs watch``: what it says while jobs change, and how it ends."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from sqlalchemy import Engine, func, update

from oban_sqla.cli.jobs import watching as module
from oban_sqla.models.job import jobs
from tests.cli.helpers import Insert
from tests.processes import Process, finished, running
from tests.support import eventually

Run = Callable[..., Result]
Watch = Callable[..., AbstractContextManager[Process]]

APP = """
import asyncio, os
from oban_sqla import job

@job
async def report(days: int) -> None:
    while not os.path.exists(f"seen.{days}"):
        await asyncio.sleep(0.02)

@job
async def tick() -> None: ...
"""
TOML = """
module = "app"
database_url = "{url}"
node = "of the file"
shutdown_grace = 0.5

[queues]
default = 2
late = {{ limit = 1, paused = true }}

[heartbeat]
interval = 1
stale_after = 3

[[crontab]]
expression = "@reboot"
worker = "app.tick"
"""


@pytest.fixture
def watch(tmp_path: Path, database_url: str, clean_tables: None) -> Watch:
    """Starts ``jobs watch`` as a process of its own."""

    def watch(*arguments: object) -> AbstractContextManager[Process]:
        environment = {"OBAN_DATABASE_URL": database_url}
        command = ["-m", "oban_sqla", "jobs", "watch", *map(str, arguments)]
        return running(command, tmp_path / "watch.log", environment=environment)

    return watch


@pytest.fixture
def change(sync_engine: Engine) -> Callable[..., None]:
    """Changes a job's columns, as a node would."""

    def change(id: int, **values: Any) -> None:
        with sync_engine.begin() as connection:
            connection.execute(update(jobs).where(jobs.c.id == id).values(values))

    return change


async def test_a_process_that_a_file_configures_runs_a_job_that_is_watched(
    tmp_path: Path, database_url: str, add: Insert, watch: Watch
) -> None:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "oban.toml").write_text(TOML.format(url=database_url))
    id = add(worker="app.report", args={"days": 7})
    with watch(id, "--json") as watched:
        await watched.says('"available"')
        with running(["-m", "oban_sqla", "start"], tmp_path / "log", tmp_path, {}) as process:
            await watched.says('"executing"')
            (tmp_path / "seen.7").touch()
            assert await watched.ended() == 0
            ticks = ["-m", "oban_sqla", "jobs", "list", "--worker", "app.tick"]
            await eventually(lambda: "completed" in finished(ticks, tmp_path).stdout, 20)
            process.signal(signal.SIGTERM)
            assert await process.ended() == 0
    assert "started on of the file with queues default, late" in process.text
    assert "running jobs have 0.5 s to finish" in process.text
    seen = [json.loads(line) for line in watched.text.splitlines()]
    assert [(row["id"], row["state"], row["attempt"]) for row in seen] == [
        (id, "available", 0), (id, "executing", 1), (id, "completed", 1)
    ]  # fmt: skip


def test_nothing_to_watch_exits_with_0(run: Run, add: Insert) -> None:
    add(queue="media", state="completed")
    result = run("jobs", "watch", "--queue", "media")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "no matching job is unfinished\n")


async def test_every_change_is_a_line_until_all_have_finished(
    watch: Watch, add: Insert, change: Callable[..., None]
) -> None:
    a, b = add(worker="app.a", queue="media"), add(worker="app.b", queue="media")
    add(worker="app.c")
    add(queue="media", state="completed")
    with watch("--queue", "media") as process:
        await process.says(f"job {b}  app.b  available\n")
        change(a, state="executing", attempt=1, attempted_at=func.timezone("UTC", func.now()))
        await process.says(f"job {a}  app.a  available → executing  attempt 1 of 20\n")
        change(
            a, state="retryable", errors=[{"attempt": 1, "error": "Traceback (most recent call last):\nOSError: no"}]
        )
        await process.says(f"job {a}  app.a  executing → retryable  attempt 1 of 20  OSError: no\n")
        change(b, state="completed", attempt=1, completed_at=func.timezone("UTC", func.now()))
        await process.says(f"job {b}  app.b  available → completed  attempt 1 of 20")
        change(a, state="discarded", attempt=2)
        assert await process.ended() == 1
    assert process.text.splitlines()[-1].endswith("retryable → discarded  attempt 2 of 20  OSError: no")


async def test_a_job_that_is_deleted_meanwhile_ends_as_deleted(watch: Watch, add: Insert, sync_engine: Engine) -> None:
    id = add()
    with watch(id) as process:
        await process.says("available")
        with sync_engine.begin() as connection:
            connection.execute(jobs.delete())
        assert await process.ended() == 1
    assert process.text.splitlines()[-1].endswith("available → deleted")


def test_what_has_finished_already_is_told_at_once(run: Run, add: Insert) -> None:
    a, b = add(state="completed"), add(state="cancelled")
    result = run("jobs", "watch", str(a), str(a))
    assert (result.exit_code, result.stdout.count("\n")) == (0, 1)
    assert run("jobs", "watch", str(a), str(b)).exit_code == 1


def test_time_that_is_up_names_what_has_not_finished(run: Run, add: Insert) -> None:
    ids = [add() for _ in range(6)]
    result = run("jobs", "watch", *map(str, ids), "--timeout", "0.1")
    assert result.exit_code == 1
    assert result.stdout.count("available\n") == 6
    assert result.stderr == f"Error: not finished within 0.1 s: 6 ({', '.join(map(str, ids[:5]))}, …)\n"


def test_a_job_that_there_is_not_can_t_be_watched(run: Run) -> None:
    result = run("jobs", "watch", "7")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: there is no job 7;")


def test_more_jobs_than_can_be_watched_are_refused(run: Run, add: Insert, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    ids = [add(queue="media") for _ in range(3)]
    chosen = run("jobs", "watch", "--queue", "media")
    assert (chosen.exit_code, chosen.stdout) == (1, "")
    assert "more than 2 unfinished jobs match; add another filter" in chosen.stderr
    assert run("jobs", "watch", *map(str, ids)).exit_code == 2


def test_ids_or_filters_are_needed_and_not_both(run: Run) -> None:
    assert "which jobs?" in run("jobs", "watch").stderr
    assert run("jobs", "watch", "1", "--queue", "media").exit_code == 2
