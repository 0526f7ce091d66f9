"""``oban-sqla jobs list`` and ``show`` on a real database."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine, func, insert, make_url, select, text
from sqlalchemy.orm import Session

from oban_sqla import JobSpec, JobState, enqueue
from oban_sqla.cli import main
from oban_sqla.insight.jobs import Filter, newest
from oban_sqla.models.job import jobs as table
from tests.cli.helpers import Insert
from tests.processes import ROOT

Run = Callable[..., Result]

TRACEBACK = """Traceback (most recent call last):
  File "a.py", line 1, in a
    b()
KeyError: 'x'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "b.py", line 1, in b
    raise ValueError(
ValueError: the order is gone
  indeed
and more"""


def at(year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)


def listed(result: Result) -> list[int]:
    assert result.exit_code == 0, result.output
    return [row["id"] for row in json.loads(result.stdout)]


def test_an_empty_table_says_so(run: Run) -> None:
    result = run("jobs", "list")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "there are no jobs\n", "")
    assert run("jobs", "list", "--queue", "media").stdout == "no matching jobs\n"
    assert json.loads(run("jobs", "list", "--json").stdout) == []


def test_the_newest_jobs_come_first_page_by_page(run: Run, add: Insert) -> None:
    ids = [add() for _ in range(25)][::-1]
    first = run("jobs", "list", "--json")
    assert listed(first) == ids[:20]
    assert "there are more" not in first.output
    people = run("jobs", "list", "--limit", "10")
    assert people.stderr == f"there are more jobs: --before {ids[9]}\n"
    assert listed(run("jobs", "list", "--before", str(ids[19]), "--json")) == ids[20:]
    assert run("jobs", "list", "--before", str(ids[19])).stderr == ""


def test_a_line_tells_where_a_job_is_and_nothing_of_its_arguments(run: Run, add: Insert) -> None:
    hour = func.timezone("UTC", func.now()) - timedelta(hours=1)
    add(worker="app.failing", state="retryable", attempt=2, args={"password": "hidden"}, errors=[
        {"attempt": 1, "at": "2026-01-01T00:00:00Z", "error": "first"},
        {"attempt": 2, "at": "2026-01-01T00:00:00Z", "error": TRACEBACK},
    ], scheduled_at=hour + timedelta(hours=2, minutes=1))  # fmt: skip
    add(worker="app.done", queue="media", state="completed", attempt=1, completed_at=hour)
    head, done, failing = run("jobs", "list").stdout.splitlines()
    assert head.split() == ["ID", "STATE", "QUEUE", "WORKER", "ATTEMPT", "WHEN", "ERROR"]
    assert re.search(r"completed +media +app.done +1/20 +1 h ago$", done)
    assert re.search(r"retryable +default +app.failing +2/20 +in 1 h 1 min +ValueError: the order is gone$", failing)
    (_, row) = json.loads(run("jobs", "list", "--json").stdout)
    assert (row["error"], row["max_attempts"], "args" in row) == ("ValueError: the order is gone", 20, False)
    assert datetime.fromisoformat(row["scheduled_at"]).utcoffset() == timedelta(0)


def test_a_long_error_is_cut_for_people(run: Run, add: Insert) -> None:
    add(errors=[{"error": "x" * 1_000}])
    assert run("jobs", "list").stdout.splitlines()[1].endswith(" " + "x" * 79 + "…")
    assert json.loads(run("jobs", "list", "--json").stdout)[0]["error"] == "x" * 1_000


def test_a_reader_that_closes_the_pipe_causes_no_error(database_url: str, add: Insert) -> None:
    for _ in range(300):
        add(worker="w" * 250)
    command = f"{sys.executable} -m oban_sqla jobs list --limit 300 --database-url {database_url!r} | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert (done.stdout.split()[0], done.stderr) == ("ID", "")


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_either_driver_will_do(run: Run, add: Insert, database_url: str, driver: str) -> None:
    url = make_url(database_url).set(drivername=f"postgresql+{driver}").render_as_string(False)
    id = add(tags=["x"], args={"customer": 7}, errors=[{"error": "no"}])
    found = run(
        "jobs", "list", "--tag", "x", "--args", "customer=7", "--state", "available", "--json", "--database-url", url
    )
    assert [row["error"] for row in json.loads(found.stdout)] == ["no"]
    assert run("jobs", "show", str(id), "--database-url", url).exit_code == 0
    assert run("jobs", "cancel", "--tag", "x", "--database-url", url, answer="y\n").exit_code == 0
    assert "cancelled" in run("jobs", "watch", str(id), "--database-url", url).stdout


def test_filters_choose(run: Run, add: Insert) -> None:
    a = add(worker="app.a", queue="media", tags=["x", "y"], args={"customer": 7, "name": "Ada", "deep": {"a": [1]}})
    b = add(worker="app.b", state="discarded", tags=["y"], args={"customer": "7"})
    c = add(worker="app.b", state="completed", queue="media")
    choices: dict[tuple[str, ...], list[int]] = {
        ("--state", "discarded"): [b],
        ("--state", "discarded", "--state", "completed"): [c, b],
        ("--queue", "media"): [c, a],
        ("--queue", "media", "--worker", "app.b"): [c],
        ("--tag", "y"): [b, a],
        ("--tag", "x"): [a],
        ("--args", "customer=7"): [a],
        ("--args", 'customer="7"'): [b],
        ("--args", "name=Ada"): [a],
        ("--args", "name=Ada", "--args", "customer=8"): [],
        ("--args", 'deep={"a": [1]}'): [a],
        ("--args", "customer=1e999"): [],
        ("--args", f"customer={'[' * 5_000}{']' * 5_000}"): [],
        ("--worker", "app"): [],
    }
    for options, chosen in choices.items():
        assert listed(run("jobs", "list", "--json", *options)) == chosen, options


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--state", "done"], "'done' is not one of 'available', 'scheduled'"),
        (["--args", "customer"], "'customer': expected a key and a value, such as customer=7"),
        (["--args", "=7"], "expected a key and a value"),
        (["--limit", "0"], "expected a whole number from 1 to 10,000, got '0'"),
        (["--before", "1" * 30], "expected the id of a job, such as 1234"),
        (["--before", "1" * 5_000], "expected the id of a job, such as 1234"),
        (["--before", "0"], "'0': expected the id of a job"),
    ],
)
def test_what_can_t_be_chosen_is_a_usage_error(run: Run, options: list[str], said: str) -> None:
    result = run("jobs", "list", *options)
    assert result.exit_code == 2
    assert said in result.output


@pytest.mark.parametrize(
    "command", ["jobs add w --args", "cron put name @daily w --args", "jobs signal 1 go --payload"]
)
def test_json_that_python_can_not_read_is_a_usage_error(run: Run, command: str) -> None:
    result = run(*command.split(), f'{{"a": {"[" * 100_000}{"]" * 100_000}}}')
    assert (result.exit_code, "JSON" in result.output) == (2, True)


@pytest.mark.parametrize(
    ("command", "noun"),
    [
        (["jobs", "show"], "job"),
        (["why"], "job"),
        (["run"], "job"),
        (["flows", "show"], "workflow"),
        (["flows", "cancel"], "workflow"),
        (["flows", "list", "--before"], "workflow"),
    ],
)
def test_what_can_t_be_an_id_is_a_usage_error(run: Run, command: list[str], noun: str) -> None:
    for given in ("nightly", "0", "9" * 30):
        result = run(*command, given)
        assert result.exit_code == 2
        assert f"{given!r}: expected the id of a {noun}, such as 1234" in result.output


@pytest.mark.parametrize("states", [(), ("executing",), ("available",), ("scheduled", "retryable"), ("discarded",)])
def test_a_list_costs_the_same_whatever_the_history(sync_engine: Engine, states: tuple[str, ...]) -> None:
    with sync_engine.begin() as connection:
        connection.execute(text(
            "INSERT INTO oban_jobs (worker, state, completed_at) "
            "SELECT 'app.a', 'completed', timezone('UTC', now()) FROM generate_series(1, 50000)"
        ))  # fmt: skip
        for state in ("available", "executing", "scheduled", "retryable", "discarded"):
            connection.execute(insert(table).values(worker="app.a", state=state, discarded_at=func.now()))
        connection.execute(text("ANALYZE oban_jobs"))
        wanted = newest(Filter(states), 21)
        sql = str(wanted.compile(connection, compile_kwargs={"literal_binds": True}))
        plan = "\n".join(connection.scalars(text("EXPLAIN (ANALYZE, BUFFERS) " + sql.replace(":", "\\:"))))
        found = connection.scalar(select(func.count()).select_from(wanted.subquery()))
    assert "Seq Scan" not in plan
    assert found == (len(states) or 21)
    pages = sum(map(int, re.findall(r"shared hit=(\d+)", plan.splitlines()[0] + plan.splitlines()[1])))
    assert pages < 100, plan


def test_everything_of_a_job_is_shown(run: Run, add: Insert) -> None:
    id = add(
        worker="app.failing", queue="media", state="discarded", priority=3, attempt=1, max_attempts=1, tags=["a", "b"],
        args={"user": 7, "name": "Åda"}, meta={"trace": "abc"}, attempted_by=["worker.1", "a-uuid"],
        inserted_at=at(2026, 1, 1, 12), scheduled_at=at(2026, 1, 1, 12),
        attempted_at=at(2026, 1, 1, 12, 0, 3), discarded_at=at(2026, 1, 1, 12, 2, 3),
        errors=[{"attempt": 1, "at": "2026-01-01T12:02:03.5+00:00", "error": TRACEBACK}],
    )  # fmt: skip
    said = run("jobs", "show", str(id)).stdout
    assert said.startswith(f"job {id} is discarded\n\nworker     app.failing\n")
    for line in (
        "queue      media", "priority   3", "attempt    1 of 1", "tags       a, b", "nodes      worker.1, a-uuid",
        "waited     3 s", "ran        2 min", '    "name": "Åda",\n    "user": 7\n', '    "trace": "abc"',
        "  ValueError: the order is gone",
    ):  # fmt: skip
        assert line in said
    assert re.search(r"^attempted  2026-01-01 12:00:03Z \(.* ago\)$", said, re.MULTILINE)
    assert re.search(r"^error in attempt 1, 2026-01-01 12:02:03Z \(.* ago\)$", said, re.MULTILINE)
    assert "completed" not in said

    found = json.loads(run("jobs", "show", str(id), "--json").stdout)
    assert found["args"] == {"user": 7, "name": "Åda"}
    assert (found["queue_time"], found["duration"], found["cancel_at"]) == (3, 120, None)
    assert found["errors"][0]["error"] == TRACEBACK
    assert found["discarded_at"] == "2026-01-01T12:02:03+00:00"


def test_a_job_with_large_args_and_thousands_of_signals_fits_a_terminal(
    run: Run, sync_engine: Engine, add: Insert
) -> None:
    id = add(args={"text": "x" * 900_000}, meta={"small": 1})
    many = "INSERT INTO oban_signals (job_id, name, payload) SELECT :id, 'n' || n, '1' FROM generate_series(1, 250) n"
    with sync_engine.begin() as connection:
        connection.execute(text(many), {"id": id})
    said = run("jobs", "show", str(id)).stdout
    assert len(said) < 40_000
    assert re.search(r"^  … 880,\d\d\d more characters; --json prints all$", said, re.MULTILINE)
    assert '"small": 1' in said
    assert re.search(r"^signals\n  … 150 before these; --json prints all\n  n151 ", said, re.MULTILINE)
    assert "\n  n250 " in said

    found = json.loads(run("jobs", "show", str(id), "--json").stdout)
    assert len(found["args"]["text"]) == 900_000
    assert len(found["signals"]) == 250


def test_what_other_programs_stored_is_shown_too(run: Run, add: Insert) -> None:
    id = add(errors=["text", {"error": "half"}, {"at": "noon", "attempt": 2}], state="executing", cancel_at=func.now())
    said = run("jobs", "show", str(id)).stdout
    assert said.startswith(f"job {id} is executing, and was asked to stop\n")
    assert "error\n  text\n" in said
    assert "error in attempt ?, at an unknown time\n  half\n" in said
    assert "error in attempt 2, at noon" in said
    assert run("jobs", "list").exit_code == 0


@pytest.mark.parametrize("state", list(JobState))
def test_a_job_in_every_state_can_be_shown(run: Run, add: Insert, state: JobState) -> None:
    id = add(state=state)
    assert run("jobs", "show", str(id)).stdout.startswith(f"job {id} is {state}")
    assert run("jobs", "list", "--state", state.value).exit_code == 0


def test_a_job_that_there_is_not_is_one_line(run: Run) -> None:
    result = run("jobs", "show", "7")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: there is no job 7; it was deleted or pruned, or never committed\n"
    assert run("jobs", "show", "seven").exit_code == 2


def test_jobs_of_a_schema_are_found_there(empty_database: str, run: Run, sync_engine: Engine) -> None:
    options = ["--database-url", empty_database, "--schema", "jobs"]
    assert run("migrate", *options).exit_code == 0
    assert run("jobs", "list", *options).stdout == "there are no jobs\n"
    missing = run("jobs", "list", "--database-url", empty_database)
    assert (missing.exit_code, missing.stdout) == (1, "")
    assert "run `oban-sqla migrate` first" in missing.stderr


def test_a_directory_with_a_file_needs_no_options(
    database_url: str, add: Insert, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    (tmp_path / "oban.toml").write_text(f'database_url = "{database_url}"')
    id = add()
    assert listed(CliRunner().invoke(main, ["jobs", "list", "--json"])) == [id]


def test_the_documented_commands_are_understood(run: Run, sync_engine: Engine) -> None:
    with Session(sync_engine) as session, session.begin():
        enqueue(session, [JobSpec("app.jobs.report", {"customer": 7})])
    page = (ROOT / "docs/command-line.md").read_text()
    commands = re.findall(r"^oban-sqla (jobs .*?)(?: +#.*)?$", page, re.MULTILINE)
    assert len(commands) >= 8
    for command in commands:
        if "--module" in command:
            continue  # of the application's own module
        result = run(*shlex.split(command), *(["--timeout", "0"] if " watch " in command else []), answer="y\n")
        assert result.exit_code in (0, 1), result.output
        assert "Traceback" not in result.output


@pytest.mark.parametrize("command", [["list"], ["list", "--json"], ["show", "ID"], ["show", "ID", "--json"]])
def test_what_another_program_wrote_commands_no_terminal(run: Run, add: Insert, command: list[str]) -> None:
    evil = "evil\x1b[2J\x1b]0;title\x07\x9b31m\u202eworker"
    job_id = add(worker=evil, args={"key": "\x9b31m"}, tags=[evil])
    result = run("jobs", *(str(job_id) if part == "ID" else part for part in command))
    assert result.exit_code == 0, result.output
    assert "evil" in result.output
    assert "\\u001b[2J" in result.output
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(result.output)
