"""Progress and logs on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from click.testing import Result
from sqlalchemy import Engine, insert

from oban_sqla.models.events import EventKind, events
from oban_sqla.models.progress import progress_rows
from tests.cli.conftest import add as add
from tests.cli.conftest import run as run
from tests.cli.helpers import Insert

Run = Callable[..., Result]


def say(engine: Engine, job_id: int, done: float, total: float | None, note: str | None = None) -> None:
    with engine.begin() as connection:
        connection.execute(insert(progress_rows).values(job_id=job_id, done=done, total=total, note=note))


def log(engine: Engine, job_id: int, count: int) -> None:
    rows: list[dict[str, Any]] = [
        {"job_id": job_id, "kind": EventKind.LOG.value, "n": n, "value": {**LINE, "message": f"line {n}"}}
        for n in range(1, count + 1)
    ]
    with engine.begin() as connection:
        connection.execute(insert(events), rows)


LINE = {"level": "INFO", "logger": "app.jobs", "attempt": 1}


def test_show_has_the_progress_and_the_newest_lines(run: Run, add: Insert, sync_engine: Engine) -> None:
    job_id = add(state="executing")
    say(sync_engine, job_id, 3, 12, "reading")
    log(sync_engine, job_id, 30)
    output = run("jobs", "show", str(job_id)).output
    assert "progress   [#####---------------] 3 of 12 (25%), reading, " in output
    assert "INFO    app.jobs: line 30" in output
    assert "line 11" in output
    assert "line 10\n" not in output
    found = json.loads(run("jobs", "show", str(job_id), "--json").output)
    assert found["progress"] | {"at": ""} == {"done": 3, "total": 12, "note": "reading", "at": ""}
    assert len(found["log"]) == 20


def test_show_of_a_job_that_tells_nothing_is_as_before(run: Run, add: Insert) -> None:
    output = run("jobs", "show", str(add())).output
    assert "progress" not in output
    assert "\nlog\n" not in output


def test_list_has_a_column_where_a_job_has_progress(run: Run, add: Insert, sync_engine: Engine) -> None:
    plain, told = add(), add()
    assert "PROGRESS" not in run("jobs", "list").output
    say(sync_engine, told, 1, 4)
    output = run("jobs", "list").output
    assert "PROGRESS" in output
    assert "25%" in output
    by_id = {job["id"]: job["progress"] for job in json.loads(run("jobs", "list", "--json").output)}
    assert by_id[plain] is None
    assert by_id[told]["total"] == 4


def test_logs_prints_all_lines(run: Run, add: Insert, sync_engine: Engine) -> None:
    job_id = add(state="completed")
    log(sync_engine, job_id, 1_500)
    lines = run("jobs", "logs", str(job_id)).output.splitlines()
    assert len(lines) == 1_500
    assert lines[-1].endswith("Z INFO    app.jobs: line 1500")
    assert len(run("jobs", "logs", str(job_id), "--after", "1490").output.splitlines()) == 10
    first = json.loads(run("jobs", "logs", str(job_id), "--json").output.splitlines()[0])
    assert {name: first[name] for name in ("number", "message", "level", "attempt")} == {
        "number": 1, "message": "line 1", "level": "INFO", "attempt": 1,
    }  # fmt: skip


def test_logs_follows_until_the_job_has_finished(run: Run, add: Insert, sync_engine: Engine) -> None:
    job_id = add(state="completed")
    log(sync_engine, job_id, 3)
    result = run("jobs", "logs", "-f", str(job_id))
    assert result.exit_code == 0
    assert len(result.output.splitlines()) == 3


def test_logs_of_a_job_that_is_not_there_says_so(run: Run) -> None:
    result = run("jobs", "logs", "123")
    assert result.exit_code == 1
    assert "there is no job 123" in result.output


def test_watch_draws_a_bar(run: Run, add: Insert, sync_engine: Engine) -> None:
    job_id = add(state="executing")
    say(sync_engine, job_id, 3, 12)
    result = run("jobs", "watch", str(job_id), "--timeout", "0")
    assert f"job {job_id}  [#####---------------]  3 of 12 (25%)" in result.output
    result = run("jobs", "watch", str(job_id), "--timeout", "0", "--json")
    said = [json.loads(line) for line in result.output.splitlines() if line.startswith("{")]
    assert [each["progress"]["done"] for each in said if "progress" in each] == [3]


def test_watch_draws_the_last_bar_of_a_job_that_has_finished(run: Run, add: Insert, sync_engine: Engine) -> None:
    job_id = add(state="completed")
    say(sync_engine, job_id, 12, 12)
    lines = run("jobs", "watch", str(job_id)).output.splitlines()
    assert "12 of 12 (100%)" in lines[0]
    assert "completed" in lines[1]
