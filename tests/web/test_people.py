"""Every action, by the buttons and fields that its page has, and what it leaves in the rows and in the audit.

Each runs by the forms of the pages, as a browser without JavaScript sends them; and where there is a Chromium, all of
them run in it, one after the other.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from oban_sqla import Heartbeat, JobSpec, Oban, Workflow, job
from oban_sqla.web import dashboard
from tests.chromium import program
from tests.support import eventually
from tests.web.conftest import Browser, audit, insert, may_do_everything, states
from tests.web.people import OfForms, Person, with_chromium

Scenario = Callable[[Person, AsyncEngine], Awaitable[None]]
FAILED = {"state": "discarded", "attempt": 3, "max_attempts": 3}


async def last(engine: AsyncEngine) -> tuple[Any, ...]:
    """The newest row of the audit, without its target."""
    row = (await audit(engine))[-1]
    return (row.who, row.via, row.verb, row.jobs, row.reason)


async def row_of(engine: AsyncEngine, id: int) -> Any:
    async with engine.connect() as connection:
        return (await connection.execute(text("SELECT * FROM oban_jobs WHERE id = :id"), {"id": id})).one()


async def retry_one(person: Person, engine: AsyncEngine) -> None:
    [id] = await insert(engine, FAILED | {"worker": "app.w", "error": "boom"})
    await person.open(f"/job/{id}")
    await person.send("Run again")
    assert (await states(engine))[id] == "available"
    assert await last(engine) == ("anna", "web", "retry", 1, None)
    assert "available" in await person.reads()


async def cancel_one(person: Person, engine: AsyncEngine) -> None:
    [id] = await insert(engine, {"state": "scheduled", "worker": "app.w", "scheduled_at": "2099-01-01"})
    await person.open(f"/job/{id}")
    await person.send("Cancel")
    assert (await states(engine))[id] == "cancelled"
    assert await last(engine) == ("anna", "web", "cancel", 1, None)


async def delete_one(person: Person, engine: AsyncEngine) -> None:
    [id] = await insert(engine, {"state": "completed", "worker": "app.w"})
    await person.open(f"/job/{id}")
    await person.send("Delete")
    assert id in await states(engine), "it asks first"
    await person.send("Delete 1 job", reason="asked for by its owner")
    assert id not in await states(engine)
    assert await last(engine) == ("anna", "web", "delete", 1, "asked for by its owner")


async def retry_chosen(person: Person, engine: AsyncEngine) -> None:
    ids = await insert(engine, *[FAILED | {"worker": "app.chosen", "error": "boom"}] * 3)
    await person.open("/jobs?worker=app.chosen")
    await person.send("Retry", id=[str(id) for id in ids[:2]])
    assert "Run again now 2 jobs?" in await person.reads()
    assert {(await states(engine))[id] for id in ids} == {"discarded"}
    await person.send("Run again now 2 jobs", reason="fixed")
    assert [(await states(engine))[id] for id in ids] == ["available", "available", "discarded"]
    assert await last(engine) == ("anna", "web", "retry", 2, "fixed")


async def cancel_all_that_match(person: Person, engine: AsyncEngine) -> None:
    ids = await insert(engine, *[{"state": "available", "worker": "app.match", "tags": ["x y"]}] * 60)
    await person.open("/jobs?worker=app.match&tag=x+y")
    await person.send("Cancel", all="on")
    assert "Cancel 60 jobs?" in await person.reads()
    await person.send("Cancel 60 jobs")
    assert {(await states(engine))[id] for id in ids} == {"cancelled"}
    assert await last(engine) == ("anna", "web", "cancel", 60, None)


async def change_a_group_of_failures(person: Person, engine: AsyncEngine) -> None:
    failed = {"state": "retryable", "attempt": 1, "error": "E 1"}
    jobs = {worker: await insert(engine, *[failed | {"worker": worker}] * 2) for worker in ("app.a", "app.b", "app.c")}
    for worker, label, says, becomes in (
        ("app.a", "Cancel all", "Cancel 2 jobs", "cancelled"),
        ("app.b", "Retry all", "Run again now 2 jobs", "available"),
        ("app.c", "Delete all", "Delete 2 jobs", None),
    ):
        ids = jobs[worker]
        await person.open(f"/failures?worker={worker}")
        await person.send(label, label=f"{label}: {worker}, E 1")
        await person.send(says)
        assert {(await states(engine)).get(id) for id in ids} == {becomes}
        assert (await last(engine))[3] == 2


async def edit_a_job(person: Person, engine: AsyncEngine) -> None:
    args = {"user_id": 7, "big": 2**60 + 1, "part": 0.1, "deep": {"list": [1, True, None, "7"]}}
    [id] = await insert(
        engine, {"state": "available", "worker": "app.w", "args": args, "tags": ["big customer", "a,b"]}
    )
    await person.open(f"/edit/{id}")
    await person.send("Change the job", priority="4", queue="slow")
    row = await row_of(engine, id)
    assert (row.priority, row.queue, row.worker) == (4, "slow", "app.w")
    assert json.dumps(row.args, sort_keys=True) == json.dumps(args, sort_keys=True), "what was not touched stays"
    assert row.tags == ["big customer", "a,b"]
    assert await last(engine) == ("anna", "web", "edit", 1, None)
    await person.open(f"/edit/{id}")
    await person.send("Change the job", args='{"user_id": 8}', tags="")
    row = await row_of(engine, id)
    assert (row.args, row.tags, row.queue) == ({"user_id": 8}, [], "slow"), "what was touched is changed"
    await person.open(f"/edit/{id}")
    await Oban(engine).update(id, priority=1, queue="fast", max_attempts=5)
    await person.send("Change the job", tags="late")
    row = await row_of(engine, id)
    assert (row.priority, row.queue, row.max_attempts) == (1, "fast", 5), "what another has changed meanwhile stays"
    assert row.tags == ["late"]
    assert (await audit(engine))[-1].target == {"ids": [id], "changes": ["tags"]}


async def send_a_signal(person: Person, engine: AsyncEngine) -> None:
    [id] = await insert(engine, {"state": "scheduled", "worker": "app.w"})
    async with engine.begin() as connection:
        sql = "INSERT INTO oban_steps (job_id, name, kind, value) VALUES (:id, 'charge', 'step', '1')"
        await connection.execute(text(sql), {"id": id})
    await person.open(f"/job/{id}")
    await person.send("Send it", name="approved", payload='{"by": "ann"}', reason="as agreed")
    assert "The signal was sent" in await person.reads()
    assert await last(engine) == ("anna", "web", "signal", 1, "as agreed")
    async with engine.connect() as connection:
        sent = (await connection.execute(text("SELECT job_id, name, payload FROM oban_signals"))).one()
    assert tuple(sent) == (id, "approved", {"by": "ann"})


async def enqueue_a_job(person: Person, engine: AsyncEngine) -> None:
    await person.open("/new")
    await person.send("Enqueue", worker="app.new", args='{"n": 1.5}', queue="q", tags="a, b c", schedule_in="60")
    row = await row_of(engine, max(await states(engine)))
    assert (row.worker, row.args, row.queue, row.state) == ("app.new", {"n": 1.5}, "q", "scheduled")
    assert row.tags == ["a", "b c"]
    assert await last(engine) == ("anna", "web", "enqueue", 1, None)


async def clone_a_job(person: Person, engine: AsyncEngine) -> None:
    args = {"n": 7, "text": "</textarea>", "none": None}
    [id] = await insert(engine, {"state": "completed", "worker": "app.w", "args": args, "queue": "a/b 'c'"})
    await person.open(f"/new?like={id}")
    await person.send("Enqueue")
    row = await row_of(engine, max(await states(engine)))
    assert row.id != id
    assert (row.worker, row.args, row.queue, row.state) == ("app.w", args, "a/b 'c'", "available")


async def control_a_queue(person: Person, engine: AsyncEngine) -> None:
    heartbeat = Heartbeat(interval=0.2, stale_after=10, dead_after=60)
    async with Oban(engine, queues={"images": 3}, node="web-1", heartbeat=heartbeat) as oban:

        def limit() -> Any:
            info = oban.check_queue("images")
            return None if info is None else (info.limit, info.paused)

        async def says(what: str) -> bool:
            await person.open("/queue?name=images")
            return what in await person.reads()

        await person.open("/queues")
        await person.send("Pause", label="Pause images")
        await eventually(lambda: limit() == (3, True))
        await eventually(lambda: says("paused"))
        await person.send("Resume", label="Resume images on web-1")
        await eventually(lambda: limit() == (3, False))
        await eventually(lambda: says("running"))
        await person.send("Set the limit", limit="7", node="web-1", reason="more room")
        assert await last(engine) == ("anna", "web", "queue.scale", None, "more room")
        await eventually(lambda: limit() == (7, False))
        await person.send("Set the limits", rate_limit="100/60", partition="args.t", partition_rate="5/1, token bucket")
        await eventually(lambda: says("of 100/60"))
        await person.send("Set the limits", global_limit="5", partition_limit="2", burst="on")
        await eventually(lambda: says("0 of 5"))
        await person.send("Suspend", seconds="60")
        await eventually(lambda: says("It is suspended"))
        await person.send("Let them start")
        await eventually(lambda: says("Allowance left"))
        await person.send("Stop", label="Stop images")
        await eventually(lambda: limit() is None)
        await eventually(lambda: says("stopped"))
        await person.send("Start with it", limit="2")
        await eventually(lambda: limit() == (2, False))
        await person.open("/queues")
        await person.send("Start the queue", queue="never seen", limit="4", node="web-1")
        await eventually(lambda: ("never seen", 4) in [(info.queue, info.limit) for info in oban.check_queues()])
    async with engine.connect() as connection:
        [limits] = (await connection.execute(text("SELECT limits FROM oban_queues WHERE limits IS NOT NULL"))).scalars()
    assert (limits["global_limit"], limits["partition"]["limit"]) == (5, 2)
    assert limits["partition"]["burst"]
    assert limits["partition"]["rate_limit"]["algorithm"] == "token_bucket", "what was not changed is as it was"
    verbs = [row.verb for row in await audit(engine) if row.verb.startswith("queue.")]
    asked = ("pause", "resume", "scale", "limit", "limit", "suspend", "reset", "stop", "start", "start")
    assert verbs == [f"queue.{verb}" for verb in asked]


async def change_the_crontab(person: Person, engine: AsyncEngine) -> None:
    crons = Oban(engine).crons
    await crons.put("nightly", "0 3 * * *", JobSpec("app.report"))
    for says, verb, paused in (
        ("Run now", "run", [False]),
        ("Pause", "pause", [True]),
        ("Resume", "resume", [False]),
        ("Delete", "delete", []),
    ):
        await person.open("/crons")
        await person.send(says, label=f"{says}: nightly")
        if verb == "delete":
            await person.send("Delete the entry", reason="not used")
        assert [entry.paused for entry in await crons.all()] == paused
        assert (await last(engine))[2] == f"cron.{verb}"
    assert (await row_of(engine, max(await states(engine)))).worker == "app.report"


@job(queue="people")
async def part(n: int) -> None: ...


async def change_a_workflow(person: Person, engine: AsyncEngine) -> None:
    """Suspended jobs are let go by a node, of which there is none."""
    flow = Workflow("order")
    flow.add(part.new(2), after=[flow.add(part.new(1), name="first")], name="second")
    async with AsyncSession(engine) as session, session.begin():
        session.add(flow)

    async def found() -> set[str]:
        sql = f"SELECT state::text FROM oban_jobs WHERE workflow_id = {flow.id}"
        async with engine.connect() as connection:
            return set((await connection.execute(text(sql))).scalars())

    for says, sure, becomes in (
        ("Cancel", "Cancel 2 jobs", {"cancelled"}),
        ("Retry what failed", None, {"suspended"}),
        ("Cancel", "Cancel 2 jobs", {"cancelled"}),
        ("Delete", "Delete 2 jobs", set[str]()),
    ):
        await person.open(f"/flow/{flow.id}")
        await person.send(says)
        if sure is not None:
            assert await found() != becomes, "it asks first"
            await person.send(sure, reason="a test order")
        assert await found() == becomes, says
    verbs = [row.verb for row in await audit(engine) if row.verb.startswith("flow.")]
    assert verbs == ["flow.cancel", "flow.retry", "flow.cancel", "flow.delete"]
    assert await last(engine) == ("anna", "web", "flow.delete", 2, "a test order")


SCENARIOS: tuple[Scenario, ...] = (
    retry_one, cancel_one, delete_one, retry_chosen, cancel_all_that_match, change_a_group_of_failures, edit_a_job,
    send_a_signal, enqueue_a_job, clone_a_job, control_a_queue, change_the_crontab, change_a_workflow,
)  # fmt: skip


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.__name__)
async def test_an_action_by_the_form_of_its_page(engine: AsyncEngine, browser: Browser, scenario: Scenario) -> None:
    await scenario(OfForms(browser), engine)


@pytest.mark.skipif(program() is None, reason="there is no Chromium; the forms are sent without one, too")
async def test_every_action_in_a_chromium(engine: AsyncEngine) -> None:
    app = dashboard(engine, authorize=may_do_everything)
    try:
        async with with_chromium(app) as (person, page):
            for scenario in SCENARIOS:
                await scenario(person, engine)
            assert page.complaints == [], "no script failed, and nothing violated the policy"
    finally:
        await app.aclose()
