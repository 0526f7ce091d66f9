"""The steps of a node's jobs: signals that it hears of, and a database that does not answer. No database."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from oban_sqla import DatabaseUnavailable
from oban_sqla.runtime.durable import steps as store
from oban_sqla.runtime.durable.steps import Steps
from oban_sqla.runtime.lanes.failure import StatementFailed
from oban_sqla.statements.steps import steps_of


class Failing:
    """A lane whose first statements fail."""

    def __init__(self, failures: int = 0) -> None:
        self.left = failures
        self.is_given_up = False

    async def run(self, *_: Any, **__: Any) -> list[str]:
        self.left -= 1
        if self.left >= 0:
            raise StatementFailed("steps_of", OSError("away"), None, unknown=True)
        return ["row"]


def steps_on(lane: Failing) -> Steps:
    lanes: list[Any] = [lane]
    return Steps(lanes)


async def test_a_signal_that_came_while_its_job_looked_is_heard_by_the_next_wait_alone() -> None:
    steps = steps_on(Failing())
    steps.woke(7)
    async with asyncio.timeout(5):
        await steps.heard(7, 3600)
    second = asyncio.create_task(steps.heard(7, 3600))
    await asyncio.sleep(0)
    steps.woke([7])  # a notification may hold anything
    steps.woke(8)
    assert not (await asyncio.wait([second], timeout=0.01))[0]
    steps.woke(7)
    async with asyncio.timeout(5):
        await second
    third = asyncio.create_task(steps.heard(7, 3600))  # that signal was for the second
    assert not (await asyncio.wait([third], timeout=0.01))[0]
    third.cancel()


async def test_signals_for_jobs_that_do_not_wait_are_forgotten_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = steps_on(Failing())
    for job_id in (1, 2, 1):
        steps.woke(job_id)
    assert [*steps._unheard] == [2, 1]
    monkeypatch.setattr(store, "REMEMBERED", 0.0)
    await asyncio.sleep(0.001)
    steps.woke(3)
    assert [*steps._unheard] == [3]


async def test_a_statement_is_tried_again_while_the_database_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "FIRST_RETRY", 0.001)
    assert await steps_on(Failing(3)).run(steps_of) == ["row"]


@pytest.mark.parametrize("why", ["its patience is over", "the node has given up"])
async def test_a_statement_is_not_tried_for_ever(monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    monkeypatch.setattr(store, "FIRST_RETRY", 0.001)
    lane = Failing(10**6)
    if why == "the node has given up":
        lane.is_given_up = True
    else:
        monkeypatch.setattr(store, "PATIENCE", 0.01)
    async with asyncio.timeout(5):
        with pytest.raises(DatabaseUnavailable, match="whether the step is kept is not known"):
            await steps_on(lane).run(steps_of)
