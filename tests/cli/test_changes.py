"""``oban-sqla jobs cancel``, ``retry`` and ``delete`` on a real database."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from click.testing import Result
from sqlalchemy import Engine, func, select

from oban_sqla import JobState
from oban_sqla.control.changes import CANCEL, DELETE, RETRY, Change
from oban_sqla.models.job import jobs
from tests.cli.helpers import Insert

Run = Callable[..., Result]
CHANGES = pytest.mark.parametrize("change", [CANCEL, RETRY, DELETE], ids=lambda change: change.name)


def states(engine: Engine) -> dict[int, str]:
    with engine.connect() as connection:
        return {id: str(state) for id, state in connection.execute(select(jobs.c.id, jobs.c.state))}


@CHANGES
@pytest.mark.parametrize("state", [state.value for state in JobState])
def test_what_can_be_changed_is_what_is_changed(run: Run, add: Insert, change: Change, state: str) -> None:
    id = add(state=state)
    by_filter = run("jobs", change.name, "--state", state, answer="n\n")
    result = run("jobs", change.name, str(id))
    if state in change.states:
        assert f"{change.name} 1 job (1 {state})? [y/N]" in by_filter.stderr
        assert (result.exit_code, result.stdout, result.stderr) == (0, f"1 job is {change.done}\n", "")
    else:
        assert (by_filter.exit_code, by_filter.stdout) == (0, f"no job to {change.name}\n")
        assert (result.exit_code, result.stdout) == (1, f"no job to {change.name}\n")
        assert result.stderr.startswith(f"job {id}: it is {state}")


def test_each_id_that_stays_as_it_is_is_named_with_the_reason(run: Run, add: Insert, sync_engine: Engine) -> None:
    waiting, done, running = add(), add(state="completed"), add(state="executing", cancel_at=func.now())
    missing = running + 100
    ids = [str(id) for id in (waiting, done, running, missing, waiting)]
    result = run("jobs", "cancel", *ids)
    assert (result.exit_code, result.stdout) == (0, "1 job is cancelled, or asked to stop\n")
    assert result.stderr.splitlines() == [
        f"job {done}: it is completed",
        f"job {running}: it is executing; it has been asked to stop already",
        f"job {missing}: there is no such job",
    ]
    assert states(sync_engine) == {waiting: "cancelled", done: "completed", running: "executing"}


def test_what_happened_to_ids_can_be_read_by_programs(run: Run, add: Insert) -> None:
    waiting, running = add(), add(state="executing")
    result = run("jobs", "delete", str(waiting), str(running), "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {
        "changed": 1,
        "ids": [waiting],
        "unchanged": [{"id": running, "reason": "it is executing; cancel it first"}],
    }


def test_a_filter_tells_how_many_and_asks(run: Run, add: Insert, sync_engine: Engine) -> None:
    media = [add(queue="media", state=state) for state in ("completed", "completed", "discarded", "executing")]
    other = add(state="discarded")
    refused = run("jobs", "retry", "--queue", "media", answer="n\n")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr.startswith("retry 3 jobs (2 completed, 1 discarded)? [y/N]")
    assert refused.stderr.endswith("Aborted!\n")
    assert states(sync_engine)[media[0]] == "completed"
    assert run("jobs", "retry", "--queue", "media", answer="").exit_code == 1

    done = run("jobs", "retry", "--queue", "media", answer="y\n")
    assert (done.exit_code, done.stdout) == (0, "3 jobs are available again\n")
    now = states(sync_engine)
    assert [now[id] for id in media] == ["available"] * 3 + ["executing"]
    assert now[other] == "discarded"


@CHANGES
def test_yes_does_not_ask(run: Run, add: Insert, change: Change) -> None:
    for _ in range(3):
        add(state="scheduled", tags=["old"])
    add(state="scheduled")
    result = run("jobs", change.name, "--tag", "old", "--yes", "--json")
    assert (result.exit_code, json.loads(result.stdout), result.stderr) == (0, {"changed": 3}, "")
    again = run("jobs", change.name, "--tag", "older", "--yes")
    assert (again.exit_code, again.stdout) == (0, f"no job to {change.name}\n")


def test_a_running_job_is_asked_to_stop(run: Run, add: Insert, sync_engine: Engine) -> None:
    id = add(state="executing")
    assert run("jobs", "cancel", str(id)).exit_code == 0
    with sync_engine.connect() as connection:
        assert connection.scalar(select(jobs.c.cancel_at)) is not None


@CHANGES
def test_ids_or_filters_are_needed_and_not_both(run: Run, add: Insert, sync_engine: Engine, change: Change) -> None:
    add()
    neither = run("jobs", change.name, "--yes")
    assert neither.exit_code == 2
    assert f"which jobs? Give ids, as in `oban-sqla jobs {change.name} 1234`, or filters" in neither.stderr
    both = run("jobs", change.name, "1", "--queue", "media")
    assert both.exit_code == 2
    assert "either ids or filters" in both.stderr
    assert list(states(sync_engine).values()) == ["available"]


def test_jobs_of_a_schema_are_changed_there(run: Run, empty_database: str) -> None:
    options = ["--database-url", empty_database, "--schema", "jobs"]
    assert run("migrate", *options).exit_code == 0
    result = run("jobs", "retry", "1", *options)
    assert (result.exit_code, result.stderr) == (1, "job 1: there is no such job\n")
    assert run("jobs", "delete", "--queue", "media", "--yes", *options).stdout == "no job to delete\n"
