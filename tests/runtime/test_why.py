"""Why a job does not run: each answer, on rows as they would be."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from oban_sqla import Heartbeat, InvalidOption, Job, JobSpec, Oban, Prune, Queue, Snooze, job
from oban_sqla.insight.why import Why, _explain
from oban_sqla.statements.cluster import lock_key
from tests.cluster.helpers import executing, lease_of_another, producer
from tests.runtime.helpers import execute, insert, load, until
from tests.support import eventually

Answer = Callable[[int], Awaitable[Why]]

ALIVE = '{"locked": true, "stale_after": 15, "local_limit": 2, "paused": false}'
PAUSED = ALIVE.replace("false", "true")


@job(name="why.noop", queue="a")
async def noop() -> None: ...


@job(name="why.boom", queue="a")
async def boom() -> None:
    raise ValueError("boom, and\nboom again")


@job(name="why.on_a_gpu", queue="a", executor="gpu")
def on_a_gpu() -> None: ...


@job(name="why.dozes", queue="a")
async def dozes() -> None:
    raise Snooze(600)


@job(name="why.waits", queue="a")
async def waits() -> None:
    await asyncio.sleep(60)


@job(name="why.limited", queue="a", timeout=0.5)
async def limited() -> None: ...


@pytest.fixture
def answer(engine: AsyncEngine) -> Answer:
    """Asks from a runtime that was never started."""
    return Oban(engine, node="asks").why


async def row(engine: AsyncEngine, **columns: Any) -> int:
    """A job of nobody's worker. Values are SQL."""
    values = {"worker": "'nobody.knows'", "queue": "'a'"} | columns
    given = f"({', '.join(values)}) VALUES ({', '.join(values.values())})"
    [[job_id]] = await execute(engine, f"INSERT INTO oban_jobs {given} RETURNING id")
    return job_id


def codes(why: Why) -> list[str]:
    return [reason.code for reason in why.reasons]


NOW = "timezone('UTC', now())"


async def test_a_job_that_is_not_there(engine: AsyncEngine, answer: Answer) -> None:
    never = await answer(7)
    assert (never.state, codes(never)) == (None, ["missing"])
    assert "there are no jobs" in never.reason.text
    assert "has not been committed" in never.reason.text
    gone, last = await row(engine), await row(engine)
    await execute(engine, f"DELETE FROM oban_jobs WHERE id = {gone}")
    assert "pruned or deleted" in (await answer(gone)).reason.text
    assert f"the newest job is {last}" in (await answer(last + 1)).reason.text
    for out_of_range in (0, -1, 2**63, 2**200):
        assert codes(await answer(out_of_range)) == ["missing"]


async def test_a_job_of_an_open_transaction_is_not_there_yet(engine: AsyncEngine, answer: Answer) -> None:
    async with AsyncSession(engine) as session:
        spec = noop.new()
        session.add(spec)
        await session.flush()
        assert spec.id is not None
        assert "has not been committed" in (await answer(spec.id)).reason.text
        await session.commit()
        assert (await answer(spec.id)).state == "available"


async def test_a_job_is_asked_about_by_its_spec_its_id_or_its_row(engine: AsyncEngine) -> None:
    oban, spec = Oban(engine), noop.new()
    with pytest.raises(InvalidOption, match="expected the id of a job"):
        await oban.why(spec)
    [job_id] = await insert(engine, spec)
    for target in (spec, job_id, await load(engine, job_id)):
        assert (await oban.why(target)).id == job_id
    for wrong in ("1", True, None, [job_id], select(Job)):
        with pytest.raises(InvalidOption):
            await oban.why(wrong)  # type: ignore[arg-type]


async def test_a_finished_job_says_how_and_where_it_ended(engine: AsyncEngine, answer: Answer) -> None:
    by = {"attempted_by": "ARRAY['there', 'x']", "attempt": "1", "attempted_at": f"{NOW} - interval '65 s'"}
    hour = f"{NOW} - interval '1 h'"
    error = """'[{"attempt": 1, "at": "", "error": "Traceback (most recent call last):\\nValueError: boom"}]'"""
    done = await row(engine, state="'completed'", completed_at=f"{NOW} - interval '60 s'", **by)
    given_up = await row(engine, state="'discarded'", discarded_at=hour, errors=error, **by)
    stopped = await row(engine, state="'cancelled'", cancelled_at=hour)
    why = await answer(done)
    assert codes(why) == ["completed"]
    assert why.reason.text.startswith(
        "it was completed 1 min ago by there, in 5 s; a node with these options prunes it in"
    )
    why = await answer(given_up)
    assert codes(why) == ["discarded"]
    assert re.search(
        r"after attempt 1 of 20; a node with these options prunes it in (23 h|22 h 59 min);", why.reason.text
    )
    assert why.reason.text.endswith("its last error: ValueError: boom")
    assert why.reason.advice == f"to run it again: oban-sqla jobs retry {given_up}"
    why = await answer(stopped)
    assert why.reason.text.startswith("it was cancelled 1 h ago, before it ran")


async def test_how_long_a_finished_job_stays(engine: AsyncEngine) -> None:
    done = await row(engine, state="'completed'", completed_at=f"{NOW} - interval '1 h'")
    policies = [
        Prune.Policy(queue="other", max_age=1),
        Prune.Policy(queue="a", worker="nobody.knows", max_age=7200, max_count=5),
    ]

    async def said(prune: Prune | None) -> str:
        return (await Oban(engine, prune=prune).why(done)).reason.text.partition("; ")[2]

    assert await said(Prune(policies=policies)) == (
        "a node with these options prunes it in 1 h, or sooner when there are 5 newer ones"
    )
    assert await said(Prune(max_age=float("inf"))) == "it is kept forever"
    assert "prunes no jobs" in await said(None)
    assert "due to be pruned" in await said(Prune(max_age=60))


async def test_a_job_for_later(engine: AsyncEngine, answer: Answer) -> None:
    await producer(engine, ALIVE, "0 s", "a")
    later = await row(engine, state="'scheduled'", scheduled_at=f"{NOW} + interval '301 s'")
    never = await row(engine, state="'scheduled'", scheduled_at="'infinity'")
    why = await answer(later)
    assert codes(why) == ["scheduled"]
    assert "Z, in 5 min" in why.reason.text
    assert why.reason.advice == f"to run it now: oban-sqla jobs retry {later}"
    assert "never comes" in (await answer(never)).reason.text


async def test_a_job_for_later_that_would_not_run_then_either(engine: AsyncEngine, answer: Answer) -> None:
    later = await row(engine, state="'scheduled'", scheduled_at=f"{NOW} + interval '1 h'")
    assert codes(await answer(later)) == ["scheduled", "no_node"]
    await producer(engine, PAUSED, "0 s", "a")
    assert codes(await answer(later)) == ["scheduled", "paused"]


async def test_a_job_that_is_due_and_not_staged(engine: AsyncEngine, answer: Answer) -> None:
    late = await row(engine, state="'scheduled'", scheduled_at=f"{NOW} - interval '1 m'")
    now = await row(engine, state="'scheduled'", scheduled_at=NOW)
    since_ever = await row(engine, state="'scheduled'", scheduled_at="'-infinity'")
    why = await answer(late)
    assert codes(why) == ["no_leader", "no_node"]
    assert (
        "it has been due for 1 min, but no node makes it available: no node leads, and none runs the queue 'a'"
        in why.reason.text
    )
    assert codes(await answer(now))[0] == "due"
    assert codes(await answer(since_ever))[0] == "due"
    await producer(engine, ALIVE, "0 s", "a")
    why = await answer(late)
    assert codes(why) == ["overdue"]
    assert "the node gone, in place of a leader, should have" in why.reason.text
    await lease_of_another(engine)
    assert "the leader another should have" in (await answer(late)).reason.text


async def test_a_job_that_failed_or_snoozed(engine: AsyncEngine, answer: Answer) -> None:
    async with Oban(engine, queues={"a": 2}, poll_interval=0.05) as oban:
        failed, asleep = await insert(engine, boom.new(), dozes.new())
        await until(engine, failed, "retryable")
        await until(engine, asleep, "scheduled")
        why = await oban.why(failed)
        assert codes(why) == ["retryable"]
        assert why.reason.text.startswith("attempt 1 of 20 failed with ValueError: boom, and; it is due at ")
        why = await oban.why(asleep)
        assert codes(why) == ["snoozed"]
        assert why.reason.text.startswith("it snoozed, once so far; it is due at ")


async def test_a_job_that_killed_its_node_twice(engine: AsyncEngine, answer: Answer) -> None:
    at = f"{NOW} + interval '1 m'"
    job_id = await row(engine, state="'retryable'", attempt="2", meta="""'{"rescued": 2}'""", scheduled_at=at)
    assert "it was rescued 2 times from a node that died" in (await answer(job_id)).reason.text


async def test_a_worker_that_no_node_knows(engine: AsyncEngine) -> None:
    async with Oban(engine, queues={"a": 2}, poll_interval=0.05) as oban:
        [job_id] = await insert(engine, JobSpec("why.newer_version", queue="a"))
        await until(engine, job_id, "scheduled")
        why = await oban.why(job_id)
        assert codes(why) == ["unknown_worker"]
        assert "no node that took it knows the worker 'why.newer_version': it was given back once" in why.reason.text
        await execute(engine, f"UPDATE oban_jobs SET state = 'available', scheduled_at = {NOW} WHERE id = {job_id}")
        assert codes(await oban.why(job_id))[-1] == "unknown_worker"


async def test_an_executor_that_no_node_has(engine: AsyncEngine) -> None:
    async with Oban(engine, queues={"a": 2}, poll_interval=0.05) as oban:
        [job_id] = await insert(engine, on_a_gpu.new())
        await until(engine, job_id, "scheduled")
        why = await oban.why(job_id)
        assert codes(why) == ["unknown_executor"]
        assert "no node that took it has the executor 'gpu', for which its worker asks: it was given back" in str(why)
        await execute(engine, f"UPDATE oban_jobs SET state = 'available', scheduled_at = {NOW} WHERE id = {job_id}")
        last = (await oban.why(job_id)).reasons[-1]
        assert (last.code, "nodes without the executor 'gpu'" in last.text) == ("unknown_executor", True)
    assert (await load(engine, job_id)).meta == {"unknown_worker": 1, "unknown_executor": "gpu"}


async def test_a_paused_queue(engine: AsyncEngine, answer: Answer) -> None:
    async with Oban(engine, queues={"a": 2}, node="here") as oban:

        async def paused() -> Why:
            # A fetch that was under way takes it for a moment, and gives it back.
            why = await answer(job_id)
            assert codes(why) == ["paused"]
            return why

        await oban.pause_queue("a")
        [job_id] = await insert(engine, noop.new())
        why = await eventually(paused)
        assert why.reason.text.startswith("the queue 'a' was paused on all nodes ")
        assert why.reason.advice == "oban-sqla queues resume a"
        await oban.resume_queue("a")
        await oban.pause_queue("a", node="here")
        [job_id] = await insert(engine, noop.new())
        why = await eventually(paused)
        assert "is paused on the one node that runs it: here; it was paused " in why.reason.text


async def test_a_queue_that_is_configured_as_paused(engine: AsyncEngine, answer: Answer) -> None:
    async with Oban(engine, queues={"a": Queue(limit=1, paused=True)}, node="here"):
        [job_id] = await insert(engine, noop.new())
        assert "its nodes are configured with Queue(paused=True)" in (await answer(job_id)).reason.text


async def test_a_queue_that_is_paused_on_one_of_two_nodes_is_worked(engine: AsyncEngine, answer: Answer) -> None:
    await producer(engine, PAUSED, "0 s", "a")
    await producer(engine, ALIVE, "0 s", "a")
    assert codes(await answer(await row(engine))) == ["due"]
    await execute(engine, "UPDATE oban_producers SET meta = meta || '{\"paused\": true}'")
    assert "is paused on all 2 nodes that run it: gone" in (await answer(await row(engine))).reason.text


async def test_a_queue_that_no_node_runs(engine: AsyncEngine, answer: Answer) -> None:
    job_id = await row(engine, queue="'media'")
    why = await answer(job_id)
    assert codes(why) == ["no_node"]
    assert why.reason.text == "no living node runs the queue 'media', or any other queue"
    await producer(engine, ALIVE, "0 s", "medias")
    await producer(engine, ALIVE, "0 s", "default")
    assert (await answer(job_id)).reason.text == (
        "no living node runs the queue 'media'; running queues: default, medias; did you mean 'medias'?"
    )
    await producer(engine, ALIVE, "20 s", "media")
    assert "its last node, gone, is dead" in (await answer(job_id)).reason.text


@pytest.mark.parametrize("queue", ["it's; exit 3", "two\nlines\x1b[31m", "é `id` $(id) \\"])
async def test_the_advice_for_a_queue_of_any_name_is_one_line_that_a_shell_takes(
    engine: AsyncEngine, answer: Answer, queue: str
) -> None:
    [job_id] = await insert(engine, noop.options(queue=queue).new())
    advice = (await answer(job_id)).reason.advice
    assert advice.isprintable()
    word = advice.partition("oban-sqla queues start ")[2].removesuffix(" --limit 10")
    shell = await asyncio.create_subprocess_exec("bash", "-c", f"printf %s {word}", stdout=asyncio.subprocess.PIPE)
    assert (await shell.communicate())[0].decode() == queue


async def test_a_queue_that_was_stopped(engine: AsyncEngine, answer: Answer) -> None:
    async with Oban(engine, queues={"a": 1, "b": 1}) as oban:
        await oban.stop_queue("a")
        [job_id] = await insert(engine, noop.new())

        async def stopped() -> bool:
            return codes(await answer(job_id)) == ["stopped"]

        await eventually(stopped)
        assert (await answer(job_id)).reason.advice == "oban-sqla queues start a"


async def test_a_queue_whose_slots_are_all_taken(engine: AsyncEngine, answer: Answer) -> None:
    async with Oban(engine, queues={"a": Queue(limit=2, prefetch=0)}, shutdown_grace=0) as oban:
        first, second, third = await insert(engine, *(waits.new() for _ in range(3)))
        for job_id in (first, second):
            await until(engine, job_id, "executing")
        why = await oban.why(third)
        assert codes(why) == ["busy"]
        assert (
            "every slot of its queue is taken (2 on one node): 2 jobs are executing, the oldest for" in why.reason.text
        )
        [fourth] = await insert(engine, waits.options(priority=5).new())
        why = await oban.why(fourth)
        assert codes(why) == ["busy", "behind"]
        assert "1 available job of its queue comes before it" in why.reasons[1].text
        assert codes(await oban.why(first)) == ["executing"]


async def test_jobs_ahead_are_counted_only_so_far(engine: AsyncEngine, answer: Answer) -> None:
    await producer(engine, ALIVE, "0 s", "a")
    await execute(
        engine, "INSERT INTO oban_jobs (worker, queue, args) SELECT 'x', 'a', '{}' FROM generate_series(1, 10050)"
    )
    why = await answer(await row(engine, priority="9"))
    assert codes(why) == ["behind"]
    assert why.reason.text.startswith("more than 10,000 available jobs of its queue come before it")


async def test_a_job_that_nothing_hinders(engine: AsyncEngine, answer: Answer) -> None:
    await producer(engine, ALIVE, "0 s", "a")
    why = await answer(await row(engine))
    assert (codes(why), why.reason.advice) == (["due"], "")
    assert why.reason.text == "it is available, and should start any moment on gone"
    old = await row(engine, scheduled_at=f"{NOW} - interval '10 m'")
    assert (
        "it has been available for 10 min, and nothing visible prevents it from running"
        in (await answer(old)).reason.text
    )


async def test_a_job_without_an_attempt_left(engine: AsyncEngine, answer: Answer) -> None:
    await producer(engine, ALIVE, "0 s", "a")
    job_id = await row(engine, attempt="20")
    why = await answer(job_id)
    assert codes(why) == ["exhausted"]
    assert "(20 of 20)" in why.reason.text
    assert "it is discarded when a node leads again" in why.reason.text
    await lease_of_another(engine)
    assert "the leader another discards it within half a minute" in (await answer(job_id)).reason.text


async def test_a_row_that_a_transaction_has_locked(any_engine: AsyncEngine) -> None:
    answer = Oban(any_engine).why
    await producer(any_engine, ALIVE, "0 s", "a")
    job_id = await row(any_engine)
    async with any_engine.connect() as connection, any_engine.connect() as another:
        [[pid]] = (await connection.execute(text("SELECT pg_backend_pid()"))).all()
        await connection.execute(text(f"SELECT 1 FROM oban_jobs WHERE id = {job_id} FOR UPDATE"))
        why = await answer(job_id)
        assert codes(why) == ["locked"]
        assert why.reason.text.startswith(f"its row is locked by process {pid} of the server")
        assert "idle in transaction, open for" in why.reason.text
        assert why.reason.advice.endswith(f"SELECT pg_terminate_backend({pid})")
        await connection.rollback()
        assert codes(await answer(job_id)) == ["due"]
        for one in (connection, another):
            await one.execute(text(f"SELECT 1 FROM oban_jobs WHERE id = {job_id} FOR KEY SHARE"))
        assert "several transactions" in (await answer(job_id)).reason.text
        await another.rollback()
        await connection.rollback()
        await connection.execute(text("SAVEPOINT here"))
        await connection.execute(text(f"UPDATE oban_jobs SET priority = 1 WHERE id = {job_id}"))
        assert f"process {pid} of" in (await answer(job_id)).reason.text
        await connection.rollback()
    assert (codes(await answer(job_id)), (await load(any_engine, job_id)).priority) == (["due"], 0)


async def test_a_locked_row_is_not_staged(engine: AsyncEngine, answer: Answer) -> None:
    await producer(engine, ALIVE, "0 s", "a")
    job_id = await row(engine, state="'retryable'", scheduled_at=f"{NOW} - interval '1 m'")
    async with engine.connect() as connection:
        await connection.execute(text(f"SELECT 1 FROM oban_jobs WHERE id = {job_id} FOR UPDATE"))
        assert codes(await answer(job_id)) == ["locked"]


async def test_asking_changes_nothing_and_takes_no_lock(engine: AsyncEngine, answer: Answer) -> None:
    await producer(engine, ALIVE, "0 s", "a")
    ids = [await row(engine), await row(engine, state="'scheduled'"), await row(engine, state="'discarded'")]
    before = await execute(engine, "SELECT xmin::text, xmax::text, j.* FROM oban_jobs j ORDER BY id")
    for job_id in ids:
        await answer(job_id)
    assert await execute(engine, "SELECT xmin::text, xmax::text, j.* FROM oban_jobs j ORDER BY id") == before


async def test_it_can_be_asked_where_nothing_can_be_written(engine: AsyncEngine, database_url: str) -> None:
    job_id = await row(engine)
    async with engine.begin() as connection:  # leaves an ended transaction in the row, for the probe to look at
        await connection.execute(text(f"SELECT 1 FROM oban_jobs WHERE id = {job_id} FOR UPDATE"))
    settings = {"server_settings": {"default_transaction_read_only": "on"}}
    reading = create_async_engine(database_url, connect_args=settings)
    try:
        assert codes(await Oban(reading).why(job_id)) == ["no_node"]
    finally:
        await reading.dispose()


async def test_a_job_that_runs(engine: AsyncEngine, answer: Answer) -> None:
    async with Oban(engine, queues={"a": 1}, node="here", shutdown_grace=0) as oban:
        [job_id] = await insert(engine, waits.new())
        await until(engine, job_id, "executing")
        why = await answer(job_id)
        assert codes(why) == ["executing"]
        assert why.reason.text.startswith("it has been running on here for ")
        assert why.reason.text.endswith(", attempt 1 of 20")
        await oban.cancel(job_id)
        await until(engine, job_id, "cancelled")
        why = await answer(job_id)
        assert codes(why) == ["cancelled"]
        assert "cancelled by request" in why.reason.text


async def test_a_job_that_does_not_stop(engine: AsyncEngine, answer: Answer) -> None:
    alive = await producer(engine, ALIVE, "0 s")
    job_id = await executing(engine, alive, cancel_at=f"{NOW} - interval '5 m'")
    why = await answer(job_id)
    assert codes(why) == ["cancelling", "executing"]
    assert "it was asked to stop 5 min ago, and has not ended yet" in why.reason.text


async def test_a_job_that_is_past_its_timeout(engine: AsyncEngine, answer: Answer) -> None:
    alive = await producer(engine, ALIVE, "0 s")
    at = f"{NOW} - interval '30 s'"
    why = await answer(await executing(engine, alive, worker="'why.limited'", attempted_at=at))
    assert codes(why) == ["past_timeout", "executing"]
    assert why.reason.text == "it has been running for 30 s, and its timeout is 0.5 s"


async def test_a_job_of_a_dead_node(engine: AsyncEngine, answer: Answer) -> None:
    dead = await producer(engine, ALIVE, "5 m")
    job_id = await executing(engine, dead)
    why = await answer(job_id)
    assert codes(why) == ["dead_node", "executing"]
    assert why.reason.text.startswith("its node gone has sent no heartbeat for 5 min, and is dead; no node leads")
    await lease_of_another(engine)
    assert "the leader another gives it to another node within half a minute" in (await answer(job_id)).reason.text
    last = await executing(engine, dead, attempt="20")
    assert "the leader another discards it, because this was its last" in (await answer(last)).reason.text
    marked = await executing(engine, dead, cancel_at=NOW)
    assert codes(await answer(marked)) == ["dead_node", "cancelling", "executing"]


async def test_a_node_that_is_silent_but_connected(engine: AsyncEngine, answer: Answer) -> None:
    async with Oban(engine, queues={"a": 1}, node="here", heartbeat=Heartbeat(interval=60, stale_after=120)) as oban:
        assert oban._node is not None
        await oban._node.liveness.stop()
        [key] = [str(queue.uuid) for queue in oban.check_queues()]
        job_id = await executing(engine, key)
        aged = f"UPDATE oban_producers SET updated_at = {NOW} - interval '5 m' WHERE node = 'here' RETURNING 1"
        await execute(engine, aged)
        why = await answer(job_id)
        assert codes(why) == ["silent_node", "executing"]
        assert "has sent no heartbeat for 5 min, but is still connected" in why.reason.text
        await execute(engine, aged.replace("5 m", "2 h"))
        assert codes(await answer(job_id))[0] == "dead_node"


async def test_a_queue_whose_only_node_is_silent(engine: AsyncEngine, answer: Answer) -> None:
    key = await producer(engine, ALIVE, "5 m", "a")
    async with engine.connect() as connection:
        await connection.execute(select(func.pg_advisory_lock_shared(lock_key(UUID(key)))))
        why = await answer(await row(engine))
        assert codes(why) == ["silent_node"]
        assert "(gone) send no heartbeat, but are still connected" in why.reason.text
        await producer(engine, ALIVE, "0 s", "a")
        assert codes(await answer(await row(engine))) == ["behind"]
        await connection.invalidate()


async def test_a_job_whose_producer_is_unknown(engine: AsyncEngine, answer: Answer) -> None:
    await lease_of_another(engine)
    unknown = await executing(engine, "00000000-0000-0000-0000-000000000001")
    nobody = await executing(engine, None)
    why = await answer(unknown)
    assert codes(why) == ["unknown_producer", "executing"]
    assert "gives it to another node 1 min after a leader first saw that" in why.reason.text
    why = await answer(nobody)
    assert codes(why) == ["unknown_producer", "executing"]
    assert "its row names no producer" in why.reason.text


async def test_a_suspended_job_names_what_it_waits_for(engine: AsyncEngine, answer: Answer) -> None:
    waiting = await row(engine, state="'suspended'", workflow_id="1")
    for number, name in enumerate(("fetch", "parse", "done")):
        before = await row(engine, state="'available'", workflow_id="1", node_name=f"'{name}'")
        met = "d" if number == 2 else "o"
        await execute(engine, f"INSERT INTO oban_deps (dep_id, job_id, met) VALUES ({before}, {waiting}, '{met}')")
    stranded = await row(engine, state="'suspended'")
    why = await answer(waiting)
    assert codes(why) == ["suspended"]
    assert why.reason.text == "it waits for 2 of 3 that come before it in its workflow: fetch, parse"
    assert "waits for no other job" in (await answer(stranded)).reason.text


async def test_a_priority_that_is_none_of_ours(engine: AsyncEngine, answer: Answer) -> None:
    await producer(engine, ALIVE, "0 s", "a")
    why = await answer(await row(engine, priority="12"))
    assert codes(why) == ["due", "odd_priority"]
    assert why.reasons[1].text == "its priority 12 is not between 0 and 9: it runs behind all jobs of its queue"


@job(name="why.hurried", deadline=60)
async def hurried() -> None: ...


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"meta": """'{"deadline": 90}'"""}, ("deadline", "it is cancelled if it has not started by its deadline")),
        ({"worker": "'why.hurried'"}, ("deadline", "it is cancelled if it has not started by its deadline")),
        ({"worker": "'why.hurried'", "meta": """'{"deadline": 1.5}'"""}, ("past_deadline", "its deadline was 8.")),
        ({"meta": """'{"deadline": 1, "snoozed": 1}'"""}, None),
        ({"meta": """'{"deadline": 1}'""", "attempt": "1"}, None),
        ({"meta": """'{"deadline": 1e300}'"""}, None),
        ({"meta": """'{"deadline": "noon"}'"""}, None),
        ({}, None),
    ],
)
async def test_a_deadline_is_said(
    engine: AsyncEngine, answer: Answer, more: dict[str, str], expected: tuple[str, str] | None
) -> None:
    await producer(engine, ALIVE, "0 s", "a")
    job_id = await row(engine, scheduled_at="timezone('UTC', now()) - interval '10 s'", **more)
    why = await answer(job_id)
    assert codes(why) == ["due", *([expected[0]] if expected else [])]
    if expected:
        assert why.reasons[1].text.startswith(expected[1]), why.reasons[1]
        assert why.reasons[1].advice == f"to give it as long again: oban.update({job_id}, schedule_in=0)"
        await Oban(engine).update(job_id, schedule_in=0)
        assert codes(await answer(job_id)) == ["due", "deadline"]


async def test_a_state_of_a_future_version(migrated_database: str) -> None:
    engine = create_async_engine(migrated_database)
    try:
        await execute(engine, "ALTER TYPE oban_job_state ADD VALUE 'postponed'")
        why = await Oban(engine).why(await row(engine, state="'postponed'"))
        assert (why.state, codes(why)) == ("postponed", ["unknown_state"])
    finally:
        await engine.dispose()


STRANGE = {
    "array_args": {"args": "'[1]'"},
    "scalar_meta": {"meta": "'5'"},
    "odd_counts": {"meta": """'{"snoozed": [1], "unknown_worker": "x", "rescued": 1e400}'"""},
    "errors_no_list": {"errors": "'{\"a\": 1}'", "state": "'retryable'"},
    "errors_of_texts": {"errors": "'[\"a\"]'", "state": "'discarded'"},
    "matrix": {"attempted_by": "ARRAY[ARRAY['a'],ARRAY['b']]", "state": "'executing'"},
    "since_ever": {"scheduled_at": "'-infinity'"},
    "never": {"scheduled_at": "'infinity'"},
    "long_ago": {"completed_at": "'-infinity'", "state": "'completed'"},
    "beyond": {"attempted_at": "'infinity'", "state": "'executing'", "cancel_at": "'-infinity'"},
    "before_christ": {"inserted_at": "'0044-03-15 BC'", "discarded_at": "NULL", "state": "'discarded'"},
    "unfinished": {"state": "'cancelled'", "cancelled_at": "'294276-12-31'"},
    "retryable_never": {"state": "'retryable'", "scheduled_at": "'infinity'"},
}


@pytest.mark.parametrize("strange", STRANGE)
async def test_whatever_another_program_wrote_is_answered(any_engine: AsyncEngine, strange: str) -> None:
    await producer(any_engine, ALIVE, "0 s", "a")
    await producer(any_engine, "[1]", "never", "a")
    why = await Oban(any_engine).why(await row(any_engine, **STRANGE[strange]))
    assert why.reasons
    assert why.as_dict()["reasons"][0]["code"] == why.reason.code


async def test_the_table_is_never_read_from_end_to_end(engine: AsyncEngine) -> None:
    """Whatever the statistics say, each statement has an index."""
    await producer(engine, ALIVE, "0 s", "a")
    await execute(
        engine,
        "INSERT INTO oban_jobs (worker, queue, state, completed_at) "
        "SELECT 'x', 'a', 'completed', timezone('UTC', now()) FROM generate_series(1, 30000)",
    )
    scans = "SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relname = 'oban_jobs'"
    ids = [await row(engine), await row(engine, state="'executing'"), await row(engine, state="'scheduled'")]
    async with engine.connect() as connection:
        for job_id in ids:
            await connection.run_sync(_explain, Oban(engine).config, job_id)
        assert (await connection.execute(text(scans))).scalar_one() == 0
