"""What the jobs of a map over a result are made of: the options that were given, and args as they are stored."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from oban_sqla import Job, JobSpec, Workflow, job
from oban_sqla.testing import drain


@job(name="maps.names")
async def names() -> list[str]:
    return ["Ann Lee", "Bo Ray"]


def split(args: dict[str, Any]) -> dict[str, Any]:
    if "name" in args:
        args["first"], _, args["last"] = args.pop("name").partition(" ")
    return args


@job(name="maps.greet", queue="mail", priority=3, max_attempts=7, tags=["polite"], meta={"by": "mail"}, upcast=split)
async def greet(first: str, last: str) -> str:
    return f"{first} {last}!"


GIVEN: dict[str, tuple[dict[str, Any], tuple[Any, ...]]] = {
    "the worker's": ({}, ("mail", 3, 7, ["polite"], {"by": "mail"})),
    "those of a plain job": (
        {"queue": "default", "priority": 0, "max_attempts": 20},
        ("default", 0, 20, ["polite"], {"by": "mail"}),
    ),
    "none": ({"tags": (), "meta": {}}, ("mail", 3, 7, [], {})),
}


@pytest.mark.parametrize(("options", "expected"), GIVEN.values(), ids=GIVEN.keys())
async def test_the_jobs_of_a_map_have_the_options_that_were_given(
    engine: AsyncEngine, clean_tables: None, options: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    made = greet.options(**options) if options else greet
    flow = Workflow("greetings")
    flow.map(lambda name: made.new(name, "Lee"), over=flow.add(names.new()).result, name="each")
    async with AsyncSession(engine) as session:
        session.add(flow)
        assert await drain(session) == {"completed": 4}
        rows = await session.scalars(select(Job).where(Job.worker == greet))
        assert [(row.queue, row.priority, row.max_attempts, row.tags, row.meta) for row in rows] == [expected] * 2


async def test_a_map_that_was_written_by_an_earlier_version_of_a_worker_goes_on(
    engine: AsyncEngine, clean_tables: None
) -> None:
    flow = Workflow("greetings")

    def as_before(name: str) -> JobSpec[str]:
        return JobSpec("maps.greet", {"name": name, "removed": True})

    each = flow.map(as_before, over=flow.add(names.new()).result, name="each")
    flow.returns(flow.add(joined.new(each.results)))
    async with AsyncSession(engine) as session:
        session.add(flow)
        assert await drain(session) == {"completed": 5}
        assert await session.scalar(select(Job.meta["return"]).where(Job.worker == joined)) == "Ann Lee!, Bo Ray!"


@job(name="maps.joined", recorded=True)
async def joined(parts: list[str]) -> str:
    return ", ".join(parts)
