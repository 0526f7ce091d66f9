"""A trigger of the program's drops jobs without an error: the enqueue says so, and takes no job for another one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import copy

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import Session

from oban_sqla import Chain, Job, JobSpec, Oban, ObanError, Unique, Workflow, job
from tests.enqueueing.conftest import Run


@job(name="tests.dropped.chained", chain=Chain(by="args.key"))
async def chained(key: str) -> None: ...


@pytest.fixture(autouse=True)
def trigger(sync_engine: Engine, clean_tables: None) -> Iterator[None]:
    """Drops the jobs of the queue `nowhere`."""
    with sync_engine.begin() as connection:
        connection.execute(
            text(
                "CREATE FUNCTION drop_job() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; "
                "CREATE TRIGGER a_drop BEFORE INSERT ON oban_jobs FOR EACH ROW WHEN (NEW.queue = 'nowhere') "
                "EXECUTE FUNCTION drop_job()"
            )
        )
    yield
    with sync_engine.begin() as connection:
        connection.execute(text("DROP TRIGGER a_drop ON oban_jobs; DROP FUNCTION drop_job()"))


def made(queues: list[str], unique: Unique | None = None) -> list[JobSpec]:
    return [JobSpec("work", {"n": n}, queue=queue, unique=unique) for n, queue in enumerate(queues)]


CASES = {
    "one": (made(["nowhere"]), "1 of 1 jobs"),
    "all": (made(["nowhere", "nowhere"]), "2 of 2 jobs"),
    "some": (made(["here", "nowhere", "here"]), "1 of 3 jobs"),
    "beside unique": ([*made(["nowhere", "here"]), *made(["here"], Unique())], "some of 3 jobs"),
    "beside one that replaces": ([*made(["nowhere"]), *made(["here"], Unique(replace=("priority",)))], "1 of 1 jobs"),
    "in a chain": ([chained.options(queue="nowhere").new("a"), *made(["here"])], " of 2 jobs"),
    "unique": (made(["nowhere"], Unique()), "a trigger of oban_jobs drop them"),
    "unique ones": (made(["nowhere", "nowhere"], Unique()), "a trigger of oban_jobs drop them"),
    "replacing": (made(["nowhere"], Unique(replace=("priority",))), "a trigger of oban_jobs drop them"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_job_that_a_trigger_drops_is_an_error_and_no_spec_has_an_id(case: str, run: Run) -> None:
    specs, said = CASES[case]

    def scenario(session: Session) -> int:
        given = [copy(spec) for spec in specs]
        session.add_all(given)
        with pytest.raises(ObanError, match=re.escape(said)):
            session.flush()
        assert [(spec.id, spec.state, spec.conflict) for spec in given] == [(None, None, False)] * len(given)
        session.rollback()
        return session.query(Job).count()

    assert run(scenario) == 0


def test_a_workflow_of_which_a_trigger_drops_a_job_is_an_error(run: Run) -> None:
    def scenario(session: Session) -> None:
        flow = Workflow("f")
        flow.add(JobSpec("work"), name="a")
        flow.add(JobSpec("work", queue="nowhere"), name="b")
        session.add(flow)
        with pytest.raises(ObanError, match="1 of 2 jobs"):
            session.flush()

    run(scenario)


async def test_a_node_that_enqueues_what_a_trigger_drops_says_so(engine: AsyncEngine) -> None:
    async with Oban(engine) as oban:
        for queues, said in (
            (["nowhere"], "1 of 1 jobs"),
            (["here", "nowhere"], "1 of 2 jobs.*The others are committed"),
        ):
            given = made(queues)
            with pytest.raises(ObanError, match=said):
                await oban.enqueue(given)
            assert [spec.id for spec in given] == [None] * len(given)
