"""Long jobs in child processes, which ask their node."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import Oban, Processes, telemetry
from tests.durable import jobs
from tests.runtime.helpers import execute, finished, insert, until


@pytest.fixture
async def oban(engine: AsyncEngine, effects: None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Oban]:
    """A node with one child."""
    monkeypatch.setenv("OBAN_TEST_CHILD_URL", engine.url.render_as_string(hide_password=False))
    processes = Processes(size=1, sessionmaker="tests.durable.jobs:ChildSession")
    async with Oban(engine, {"durable_children": 4}, processes=processes, poll_interval=0.1, shutdown_grace=1) as oban:
        yield oban


async def test_a_job_in_a_child_has_steps_sleeps_and_signals(oban: Oban, engine: AsyncEngine) -> None:
    heard: list[tuple[str, Any]] = []
    told = ("oban.step.start", "oban.step.stop", "oban.sleep", "oban.wait")
    telemetry.attach("children", told, lambda event, fields: heard.append((event, fields["job_id"])))
    plain, later = await insert(engine, jobs.order_in_child.new(7), jobs.order_in_child_later.new(1))
    for job_id in (plain, later):
        assert await oban.signal(job_id, "go", {"to": job_id})
    done, async_done = await finished(engine, [plain, later], timeout=40)
    pid, booked, went = done.meta["return"]
    assert (booked, went) == (8, {"to": plain})
    assert pid > 0
    assert done.attempt == 2  # it failed once after its steps
    assert async_done.meta["return"] == [2, {"to": later}]
    assert async_done.attempt == 1
    effects = await execute(engine, "SELECT what FROM durable_effects ORDER BY what")
    assert effects == [("book 7",), ("failed 7",)]
    telemetry.detach("children")
    assert [event for event, job_id in heard if job_id == later] == [
        "oban.step.start", "oban.step.stop", "oban.sleep", "oban.wait"
    ]  # fmt: skip


async def test_the_error_of_a_step_in_a_child_reaches_the_handlers_of_its_node(oban: Oban, engine: AsyncEngine) -> None:
    heard: list[Any] = []
    telemetry.attach("children", ["oban.step.exception"], lambda _, fields: heard.append(fields))
    [job_id] = await insert(engine, jobs.fails_in_child.options(max_attempts=1).new())
    await until(engine, job_id, "discarded", timeout=40)
    telemetry.detach("children")
    [fields] = heard
    assert (fields["job_id"], fields["step"], str(fields["error"])) == (job_id, "fails", "ValueError: no 7")
    assert fields["duration"] >= 0


async def test_what_is_refused_in_a_child_is_the_jobs_error(oban: Oban, engine: AsyncEngine) -> None:
    [job_id] = await insert(engine, jobs.twice_in_child.options(max_attempts=1).new())
    job = await until(engine, job_id, "discarded", timeout=40)
    assert "the step 'one' was used before in this run" in job.errors[-1]["error"]
