"""Numbers that the id of no job can have, and selects of other numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import aliased, defer, with_loader_criteria

from oban_sqla import InvalidOption, Job, JobSpec, Oban, Workflow, enqueue

TOO_LARGE = 2**63

VERBS: dict[str, Callable[[Oban], Any]] = {
    "cancel": lambda oban: oban.cancel(TOO_LARGE),
    "retry": lambda oban: oban.retry([1, TOO_LARGE]),
    "delete": lambda oban: oban.delete(TOO_LARGE),
    "update": lambda oban: oban.update(TOO_LARGE, priority=1),
    "logs": lambda oban: oban.logs(TOO_LARGE),
    "stream": lambda oban: anext(oban.stream(TOO_LARGE)),
    "signal": lambda oban: oban.signal(TOO_LARGE, "approved"),
    "result": lambda oban: oban.result(TOO_LARGE),
}


@pytest.mark.parametrize("verb", VERBS)
async def test_a_number_that_the_column_can_not_hold_is_refused_by_each_verb(engine: AsyncEngine, verb: str) -> None:
    with pytest.raises(InvalidOption, match=r"expected (the id of a job|a job's id).*9223372036854775808"):
        await VERBS[verb](Oban(engine))


async def test_why_says_that_there_is_no_such_job(engine: AsyncEngine) -> None:
    assert (await Oban(engine).why(TOO_LARGE)).reason.code == "missing"


async def test_selects_that_would_change_other_jobs_are_refused(engine: AsyncEngine) -> None:
    oban = Oban(engine)
    for column in (Workflow.id, aliased(Workflow).id):
        with pytest.raises(InvalidOption, match=r"expected select\(Job\) with .* got a select of .*Workflow"):
            await oban.delete(select(column))
    for chosen in (select(Job), select(Job.id)):
        with pytest.raises(InvalidOption, match=r"with_loader_criteria\(…\) does not hold here"):
            await oban.delete(chosen.options(with_loader_criteria(Job, Job.queue == "other")))
    async with AsyncSession(engine) as session, session.begin():
        await enqueue(session, [JobSpec("w") for _ in range(3)])
    assert await oban.delete(select(Job.id).order_by(Job.id).limit(1)) == 1
    assert await oban.delete(select(aliased(Job).id).limit(1)) == 1
    assert await oban.delete(select(Job.priority.label("id"))) == 0  # it says itself that these are ids
    assert await oban.delete(select(Job).options(defer(Job.args))) == 1
