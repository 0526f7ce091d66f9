"""Jobs that have waited long become more urgent, and no others."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from oban_sqla import InvalidOption, Job, Oban, Prioritize, current_job, enqueue, job, telemetry
from oban_sqla.runtime.duties.prioritizer import Prioritizer
from oban_sqla.runtime.lanes.lane import Lane
from oban_sqla.runtime.lanes.line import Line
from oban_sqla.runtime.refusals import Refusals
from oban_sqla.statements.prioritize import statements, waiting_priorities
from oban_sqla.statements.statement import Statement
from oban_sqla.statements.usage import ahead_in_key
from oban_sqla.statements.why import crowd
from tests.cron.clock import LEASE, Leader, grant
from tests.runtime.helpers import execute, insert
from tests.support import eventually

MINUTE = 60


@asynccontextmanager
async def prioritizer(engine: AsyncEngine, prioritize: Prioritize) -> AsyncGenerator[Prioritizer]:
    """A leader's; each step is asked for. What it tells is kept as `told`."""
    await grant(engine)
    lane = Lane(Line(engine, pooled=False), "prioritizing")
    made = Prioritizer(
        lane=lane,
        leadership=Leader(),  # type: ignore[arg-type]  # all that a duty asks it for
        prioritize=prioritize,
        available=told.extend,
        refusals=Refusals(),
    )
    try:
        yield made
    finally:
        await lane.close()


told: list[str] = []
"""The queues of which nodes were told."""


async def raise_once(engine: AsyncEngine, prioritize: Prioritize) -> None:
    told.clear()
    async with prioritizer(engine, prioritize) as duty:
        await duty.step()


async def waiting(
    engine: AsyncEngine,
    minutes: float,
    priority: int,
    *,
    state: str = "available",
    queue: str = "default",
    worker: str = "w",
) -> int:
    """The id of a job that has been due for some minutes."""
    sql = (
        "INSERT INTO oban_jobs (state, queue, worker, priority, scheduled_at) VALUES (CAST(:state AS oban_job_state),"
        " :queue, :worker, :priority, timezone('UTC', now()) - make_interval(secs => CAST(:ago AS float8)))"
        " RETURNING id"
    )
    given = {"state": state, "queue": queue, "worker": worker, "priority": priority, "ago": minutes * MINUTE}
    [[job_id]] = await execute(engine, sql, **given)
    return int(job_id)


@contextmanager
def counted() -> Generator[list[int]]:
    """How many jobs each round has raised."""
    rounds: list[int] = []
    telemetry.attach("rounds", ["oban.prioritizer.raise.stop"], lambda _, fields: rounds.append(fields["raised_count"]))
    try:
        yield rounds
    finally:
        telemetry.detach("rounds")


async def priorities(engine: AsyncEngine) -> dict[int, int]:
    async with AsyncSession(engine) as session:
        return {row.id: row.priority for row in await session.execute(select(Job.id, Job.priority))}


async def test_a_job_that_has_waited_for_five_minutes_becomes_more_urgent_by_one(engine: AsyncEngine) -> None:
    long, least, short, urgent = [
        await waiting(engine, minutes, priority) for minutes, priority in ((6, 3), (6, 9), (4, 3), (6, 0))
    ]
    others = [await waiting(engine, 6, 3, state=state) for state in ("scheduled", "retryable", "executing")]
    await raise_once(engine, Prioritize())
    assert await priorities(engine) == {long: 2, least: 8, short: 3, urgent: 0, **dict.fromkeys(others, 3)}


async def test_no_job_is_raised_twice_in_a_round_and_each_is_raised_in_the_next(engine: AsyncEngine) -> None:
    jobs = {priority: await waiting(engine, 6, priority) for priority in range(10)}
    for times in (1, 2, 3):
        await raise_once(engine, Prioritize())
        assert await priorities(engine) == {jobs[before]: max(before - times, 0) for before in range(10)}


async def test_none_is_raised_above_the_highest_priority(engine: AsyncEngine) -> None:
    jobs = [await waiting(engine, 6, priority) for priority in (1, 2, 3)]
    await raise_once(engine, Prioritize(highest=2))
    assert await priorities(engine) == dict(zip(jobs, (1, 2, 2), strict=True))


async def test_the_first_policy_that_applies_to_a_job_decides(engine: AsyncEngine) -> None:
    soon = await waiting(engine, 2, 5, queue="soon")
    never = await waiting(engine, 600, 5, queue="soon", worker="patient")
    other = await waiting(engine, 2, 5)
    old = await waiting(engine, 20, 5)
    policies = [
        Prioritize.Policy(worker="patient", after=math.inf),
        Prioritize.Policy(queue=["soon", "sooner"], after=MINUTE),
    ]
    await raise_once(engine, Prioritize(after=10 * MINUTE, policies=policies))
    assert await priorities(engine) == {soon: 4, never: 5, other: 5, old: 4}
    assert sorted(told) == ["default", "soon"], "nodes read these queues from the front"


async def test_a_round_raises_as_many_jobs_as_its_limit_the_most_urgent_and_oldest_first(engine: AsyncEngine) -> None:
    jobs = [await waiting(engine, minutes, priority) for minutes, priority in ((9, 4), (7, 2), (8, 2), (9, 3))]
    with counted() as rounds:
        await raise_once(engine, Prioritize(limit=2))
        assert await priorities(engine) == dict(zip(jobs, (4, 1, 1, 3), strict=True))
        await raise_once(engine, Prioritize(limit=3, highest=1))
    assert await priorities(engine) == dict(zip(jobs, (3, 1, 1, 2), strict=True))
    assert rounds == [2, 2]


async def test_a_job_that_is_locked_or_refused_holds_up_no_other(engine: AsyncEngine) -> None:
    locked, refused, other = [await waiting(engine, 9 - at, 5) for at in range(3)]
    await execute(
        engine,
        "CREATE FUNCTION refuse_priority() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '22000'; END $$",
    )
    await execute(
        engine,
        "CREATE TRIGGER refuse_priority BEFORE UPDATE OF priority ON oban_jobs FOR EACH ROW"
        f" WHEN (OLD.id = {refused}) EXECUTE FUNCTION refuse_priority()",
    )
    try:
        async with AsyncSession(engine) as session, session.begin():
            await session.execute(select(Job.id).where(Job.id == locked).with_for_update())
            await asyncio.wait_for(raise_once(engine, Prioritize()), 10)
        assert await priorities(engine) == {locked: 5, refused: 5, other: 4}
    finally:
        await execute(engine, "DROP FUNCTION refuse_priority CASCADE")


async def test_a_leader_that_has_lost_its_lease_changes_nothing(engine: AsyncEngine) -> None:
    job_id = await waiting(engine, 6, 3)
    async with prioritizer(engine, Prioritize()) as duty:
        await grant(engine, seconds=-1)
        await duty.step()
    assert await priorities(engine) == {job_id: 3}


async def test_what_has_not_waited_is_not_read(engine: AsyncEngine) -> None:
    await waiting(engine, 6, 3)
    await execute(
        engine,
        "INSERT INTO oban_jobs (state, queue, worker, priority)"
        " SELECT 'available', 'queue' || n % 3, 'w', n % 2 FROM generate_series(1, 6000) n",
    )
    [bulk] = statements(Prioritize().all_policies)
    given: dict[str, Any] = {"priority": 1, "limit": 1_000, "refused": [], **LEASE}
    for statement, parameters in ((waiting_priorities, {"wait": 300.0}), (bulk.change, given)):
        async with engine.connect() as connection:
            assert await connection.run_sync(rows_read, statement, parameters) < 60


@pytest.mark.parametrize(("longest", "asked"), [(60, ["waiting_priorities"]), (math.inf, [])])
async def test_a_round_in_which_none_has_waited_long_is_one_question_and_none_where_none_is_raised(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch, longest: float, asked: list[str]
) -> None:
    for priority in range(10):
        await waiting(engine, 0.5, priority)
    sent: list[str] = []
    run = Lane.run

    async def counted(self: Lane, statement: Statement, **given: Any) -> Any:
        sent.append(statement.name)
        return await run(self, statement, **given)

    monkeypatch.setattr(Lane, "run", counted)
    policies = [Prioritize.Policy(queue="slow", after=longest * 2), Prioritize.Policy(worker="x", after=math.inf)]
    await raise_once(engine, Prioritize(after=longest, policies=policies))
    assert sent == asked


def rows_read(connection: Any, statement: Any, given: Mapping[str, Any]) -> float:
    """The most rows that a part of the plan gives."""
    compiled = statement.compiled(connection.dialect)
    explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {compiled.sql}"
    cursor = connection.connection.cursor()
    cursor.execute(explain, compiled.values(given))
    [[plan]] = cursor.fetchall()
    cursor.close()
    return max(nodes((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]))


def nodes(plan: Mapping[str, Any]) -> list[float]:
    removed = plan.get("Rows Removed by Filter", 0)
    own = (plan["Actual Rows"] + removed) * plan["Actual Loops"]
    return [own, *(rows for inner in plan.get("Plans", ()) for rows in nodes(inner))]


ran: list[str] = []


@job(name="prioritized.urgent", queue="busy")
async def urgent(session: AsyncSession) -> None:
    """There are always more of these."""
    ran.append("urgent")
    await enqueue(session, urgent.new())


@job(name="prioritized.patient", queue="busy", priority=2)
async def patient() -> None:
    ran.append(f"patient {current_job().priority}")


async def test_a_flow_of_urgent_jobs_starves_others_only_without_it(engine: AsyncEngine) -> None:
    ran.clear()
    await insert(engine, *(urgent.new() for _ in range(5)), patient.new())
    async with Oban(engine, queues={"busy": 1}):
        await eventually(lambda: ran.count("urgent") > 30)
    assert set(ran) == {"urgent"}
    async with Oban(engine, queues={"busy": 1}, prioritize=Prioritize(after=0.1, interval=0.1)):
        await eventually(lambda: "patient 0" in ran)


@job(name="prioritized.holds", queue="busy")
async def holds() -> None:
    await asyncio.Event().wait()


async def test_why_says_when_a_job_behind_others_becomes_more_urgent(engine: AsyncEngine) -> None:
    _, _, equal, last = await insert(
        engine, holds.new(), *(patient.new() for _ in range(2)), patient.options(priority=5).new()
    )
    prioritize = Prioritize(after=3_600, highest=2, interval=90)
    words = "2 available jobs of its queue come before it; a leader with these options makes it more urgent"
    node = Oban(engine, queues={"busy": 1}, prioritize=prioritize, shutdown_grace=0)
    with counted() as rounds:
        async with node as oban:
            await eventually(lambda: rounds and oban.check_queues()[0].running)  # the next round comes after 90 s
            assert await behind(oban, equal) == "1 available job of its queue comes before it", "none goes above 2"
            assert re.fullmatch(rf"{words} in 1 h", await behind(oban, last))
            await execute(engine, "UPDATE oban_jobs SET scheduled_at = scheduled_at - interval '2 h'")
            assert await behind(oban, last) == f"{words} each 1 min 30 s"


async def test_a_job_that_becomes_more_urgent_meanwhile_does_not_come_before_itself(engine: AsyncEngine) -> None:
    job_id = await waiting(engine, 6, 4)
    await execute(engine, "UPDATE oban_jobs SET partition_key = '7'")
    as_it_was = {"queue": "default", "priority": 5, "scheduled_at": datetime(2100, 1, 1), "id": job_id, "most": 10}
    async with engine.connect() as connection:
        rows = await connection.run_sync(lambda plain: crowd.execute(plain, **as_it_was).all())
        in_key = await connection.run_sync(lambda plain: ahead_in_key.execute(plain, key="7", **as_it_was).scalar())
    assert ({row.what: row.jobs for row in rows}, in_key) == ({"ahead": 0, "executing": 0}, 0)


async def behind(oban: Oban, job_id: int) -> str:
    """What is said of a job that waits behind others."""
    [reason] = [reason for reason in (await oban.why(job_id)).reasons if reason.code == "behind"]
    return reason.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"after": -1}, "Prioritize(after): expected seconds (0 or more) or a timedelta, got -1"),
        ({"after": None}, "Prioritize(after): expected seconds (0 or more) or a timedelta, got None"),
        ({"highest": 9}, "Prioritize: highest must be a priority from 0 to 8, got 9"),
        ({"highest": True}, "Prioritize: highest must be a priority from 0 to 8, got True"),
        ({"limit": 0}, "Prioritize: limit must be a number of jobs, 1 or more, got 0"),
        ({"interval": 0}, "Prioritize: interval must be seconds above 0, got 0"),
        ({"policies": [60]}, "Prioritize: policies must be Prioritize.Policy(…), in a list, got 60"),
        ({"aftr": 1}, "did you mean 'after'?"),
    ],
)
def test_a_wrong_option_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        Prioritize(**options)
    assert message in str(refused.value)


def test_a_wrong_policy_is_refused(engine: AsyncEngine) -> None:
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({}, "PrioritizePolicy: after is missing"),
        ({"after": 1, "queue": []}, "Prioritize.Policy(queue): expected a name or several, got none"),
        ({"after": 1, "worker": 7}, "Prioritize.Policy(worker): expected a name or several, got 7"),
    )
    for options, message in wrong:
        with pytest.raises(InvalidOption) as refused:
            Prioritize.Policy(**options)
        assert message in str(refused.value)
    with pytest.raises(InvalidOption, match=r"prioritize must be Prioritize\(…\), or None to turn it off, got 300"):
        Oban(engine, prioritize=300)  # type: ignore[arg-type]  # what is refused
