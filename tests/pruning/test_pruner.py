"""What the pruner deletes, and what it never does."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import Oban, Prune, telemetry
from oban_sqla.models.job import jobs
from oban_sqla.options.prune import STATES
from oban_sqla.runtime.duties.pruner import Pruner
from oban_sqla.runtime.lanes.failure import StatementFailed
from oban_sqla.runtime.lanes.lane import Lane
from oban_sqla.runtime.lanes.line import Line
from oban_sqla.runtime.refusals import Refusals
from oban_sqla.statements.prune import stamp, statements
from tests.cron.clock import LEASE, Leader, grant
from tests.runtime.helpers import execute
from tests.support import eventually

HOUR = 3600


@asynccontextmanager
async def pruner(engine: AsyncEngine, prune: Prune) -> AsyncGenerator[Pruner]:
    """A leader that prunes when it is asked to."""
    await grant(engine)
    lane = Lane(Line(engine, pooled=False), "pruning")
    pruner = Pruner(lane=lane, leadership=Leader(), prune=prune, refusals=Refusals())  # type: ignore[arg-type]
    try:
        yield pruner
    finally:
        await lane.close()


async def prune(engine: AsyncEngine, prune: Prune) -> None:
    """One round."""
    async with pruner(engine, prune) as loop:
        await loop.step()


async def finish(
    engine: AsyncEngine,
    hours: float,
    *,
    state: str = "completed",
    queue: str = "default",
    worker: str = "w",
    **more: Any,
) -> int:
    """The id of a job that finished some hours ago."""
    columns = {"state": state, "queue": queue, "worker": worker, **more}
    names = ", ".join(columns)
    values = ", ".join(f"CAST(:{name} AS {_TYPES.get(name, 'text')})" for name in columns)
    sql = (
        f"INSERT INTO oban_jobs ({names}, {state}_at) VALUES ({values},"
        " timezone('UTC', now()) - make_interval(secs => CAST(:ago AS float8))) RETURNING id"
    )
    [[job_id]] = await execute(engine, sql, ago=hours * HOUR, **columns)
    return int(job_id)


_TYPES = {"state": "oban_job_state", "workflow_id": "bigint", "batch_id": "bigint"}


async def waiting(engine: AsyncEngine, state: str, **more: int) -> int:
    columns = {"state": state, "worker": "w", **more}
    values = ", ".join(f"CAST(:{name} AS {_TYPES.get(name, 'text')})" for name in columns)
    sql = f"INSERT INTO oban_jobs ({', '.join(columns)}) VALUES ({values}) RETURNING id"
    [[job_id]] = await execute(engine, sql, **columns)
    return int(job_id)


async def left(engine: AsyncEngine) -> set[int]:
    return {row.id for row in await execute(engine, "SELECT id FROM oban_jobs")}


async def test_finished_jobs_go_after_a_day_and_others_never(any_engine: AsyncEngine) -> None:
    old = [await finish(any_engine, 25, state=state) for state in ("completed", "cancelled", "discarded")]
    young = {await finish(any_engine, 23, state=state) for state in ("completed", "cancelled", "discarded")}
    unfinished = {
        await waiting(any_engine, state)
        for state in ("available", "scheduled", "suspended", "executing", "retryable")
    }  # fmt: skip
    await execute(any_engine, "UPDATE oban_jobs SET scheduled_at = 'epoch', inserted_at = 'epoch'")
    await prune(any_engine, Prune())
    assert await left(any_engine) == young | unfinished, old


async def test_the_first_policy_that_applies_decides(engine: AsyncEngine) -> None:
    policies = [
        Prune.Policy(worker="audit", max_age=math.inf),
        Prune.Policy(queue="mail", state="discarded", max_age=100 * HOUR),
        Prune.Policy(queue=["mail", "beat"], max_age=2 * HOUR),
        Prune.Policy(state="cancelled", max_age=5 * HOUR),
    ]
    stays = {
        await finish(engine, 1000, worker="audit", queue="mail"),
        await finish(engine, 50, queue="mail", state="discarded"),
        await finish(engine, 1, queue="mail"),
        await finish(engine, 4, state="cancelled"),
        await finish(engine, 20),
    }
    gone: list[tuple[int, dict[str, Any]]] = [
        (101, {"queue": "mail", "state": "discarded"}),
        (3, {"queue": "mail"}),
        (3, {"queue": "beat", "state": "cancelled"}),
        (6, {"state": "cancelled"}),
        (25, {}),
        (25, {"state": "discarded"}),
    ]
    for hours, options in gone:
        await finish(engine, hours, **options)
    await prune(engine, Prune(policies=policies))
    assert await left(engine) == stays


async def test_a_count_keeps_the_latest_of_each_state(engine: AsyncEngine) -> None:
    beats = [await finish(engine, hours, queue="beat") for hours in (1, 2, 3, 4, 5)]
    failed = [await finish(engine, hours, queue="beat", state="discarded") for hours in (1, 2, 3, 4)]
    other = await finish(engine, 6)
    await prune(engine, Prune(policies=[Prune.Policy(queue="beat", max_count=3)]))
    assert await left(engine) == {*beats[:3], *failed[:3], other}


async def test_of_age_and_count_the_stricter_counts(engine: AsyncEngine) -> None:
    jobs = [await finish(engine, hours) for hours in (1, 2, 3, 20, 30)]
    await prune(engine, Prune(policies=[Prune.Policy(max_count=4, max_age=10 * HOUR)]))
    assert await left(engine) == set(jobs[:3])
    await prune(engine, Prune(policies=[Prune.Policy(max_count=2, max_age=10 * HOUR)]))
    assert await left(engine) == set(jobs[:2])
    await prune(engine, Prune(policies=[Prune.Policy(max_count=0)]))
    assert await left(engine) == set()


@pytest.mark.parametrize("kind", ["workflow", "batch"])
async def test_jobs_of_a_flow_or_batch_that_has_finished_are_of_no_policy_and_in_no_count(
    engine: AsyncEngine, kind: str
) -> None:
    plain = [await finish(engine, hours) for hours in (5, 6, 7)]
    made = "INSERT INTO oban_{}s (name, finished_at) VALUES ('x', timezone('UTC', now())) RETURNING id"
    [[of]] = await execute(engine, made.format({"batch": "batche"}.get(kind, kind)))
    grouped: dict[str, Any] = {f"{kind}_id": of}
    group = [await finish(engine, hours, **grouped) for hours in (1, 2, 3)]
    await prune(engine, Prune(max_age=24 * HOUR, policies=[Prune.Policy(max_count=2)]))
    assert await left(engine) == {*plain[:2], *group}
    await prune(engine, Prune(max_age=24 * HOUR, policies=[Prune.Policy(max_age=0)]))
    assert await left(engine) == set(group)


@pytest.mark.parametrize("of", ["workflow_id", "batch_id"])
@pytest.mark.parametrize("policy", [Prune.Policy(max_age=HOUR), Prune.Policy(max_count=0)])
async def test_a_job_of_a_flow_or_batch_stays_until_all_have_finished(
    engine: AsyncEngine, of: str, policy: Any
) -> None:
    ours: dict[str, Any] = {of: 1}
    theirs: dict[str, Any] = {of: 2}
    mine = [await finish(engine, 100, **ours), await finish(engine, 90, state="discarded", **ours)]
    open_jobs = [
        await waiting(engine, state, **ours)
        for state in ("available", "scheduled", "suspended", "executing", "retryable")
    ]  # fmt: skip
    await finish(engine, 100, **theirs)
    for job_id in open_jobs:
        await prune(engine, Prune(policies=[policy]))
        assert await left(engine) >= {*mine, job_id}
        await execute(
            engine,
            "UPDATE oban_jobs SET state = 'completed', completed_at = timezone('UTC', now()) WHERE id = :id",
            id=job_id,
        )
    await prune(engine, Prune(max_age=HOUR))
    assert await left(engine) == set(open_jobs), "the others have been over for long"


async def test_a_locked_row_is_passed_over_and_goes_with_the_next_round(engine: AsyncEngine) -> None:
    locked, free = [await finish(engine, 50) for _ in range(2)]
    async with engine.connect() as connection:
        await connection.execute(text("SELECT FROM oban_jobs WHERE id = :id FOR UPDATE"), {"id": locked})
        await prune(engine, Prune())
        assert await left(engine) == {locked}, free
    await prune(engine, Prune())
    assert await left(engine) == set()


async def test_a_job_that_is_retried_meanwhile_stays(engine: AsyncEngine) -> None:
    job_id = await finish(engine, 50)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE oban_jobs SET state = 'available' WHERE id = :id"), {"id": job_id})
        await prune(engine, Prune())
    await prune(engine, Prune())
    assert await left(engine) == {job_id}


async def test_finished_rows_of_other_programs_without_a_time_get_one_and_are_pruned_in_turn(
    engine: AsyncEngine,
) -> None:
    for state in ("completed", "cancelled", "discarded"):
        await waiting(engine, state)
    for _ in range(2):
        await prune(engine, Prune())
        assert len(await left(engine)) == 3, "counted from now"
    await execute(
        engine,
        "UPDATE oban_jobs SET completed_at = completed_at - interval '2 days',"
        " cancelled_at = cancelled_at - interval '2 days', discarded_at = discarded_at - interval '2 days'",
    )
    await prune(engine, Prune())
    assert await left(engine) == set()


async def test_rows_with_strange_times_stop_nothing(engine: AsyncEngine) -> None:
    await finish(engine, 50)
    insert = "INSERT INTO oban_jobs (worker, state, completed_at) VALUES ('w', 'completed', '{}')"
    for strange in ("infinity", "-infinity", "0044-03-15 BC"):
        await execute(engine, insert.format(strange))
    await prune(engine, Prune())
    assert await execute(engine, "SELECT completed_at::text FROM oban_jobs") == [("infinity",)]


async def test_a_pruner_that_lost_its_lease_deletes_nothing(engine: AsyncEngine) -> None:
    old = await finish(engine, 50)
    unstamped = await waiting(engine, "completed")
    async with pruner(engine, Prune(policies=[Prune.Policy(queue="x", max_count=0)])) as paused:
        await grant(engine, seconds=-1)
        await paused.step()
        assert await left(engine) == {old, unstamped}
        assert await execute(engine, "SELECT 1 FROM oban_jobs WHERE id = :id AND completed_at IS NULL", id=unstamped)


async def test_a_round_goes_on_while_full_batches_come(engine: AsyncEngine) -> None:
    await execute(
        engine,
        "INSERT INTO oban_jobs (worker, state, completed_at)"
        " SELECT 'w', 'completed', timezone('UTC', now()) - interval '2 days' FROM generate_series(1, 950)",
    )
    told: list[Mapping[str, Any]] = []
    telemetry.attach("pruned", ["oban.pruner.prune.stop"], lambda _, fields: told.append(fields))
    try:
        async with pruner(engine, Prune(limit=100, interval=60)) as loop:
            statements = _counted(loop)
            assert await loop.step() == 60
            assert await loop.step() == pytest.approx(60, abs=1), "an election does not start the next round early"
    finally:
        telemetry.detach("pruned")
    assert await left(engine) == set()
    assert [fields["pruned_count"] for fields in told] == [950]
    others = "the last, not full; one each for the other states, the stamp, workflows, batches and belongings"
    assert statements() == 10 + 1 + 5, others


def _counted(loop: Pruner) -> Callable[[], int]:
    run = loop._lane.run
    ran: list[object] = []

    async def counted(statement: Any, /, **parameters: Any) -> Any:
        ran.append(statement)
        return await run(statement, **parameters)

    loop._lane.run = counted  # type: ignore[method-assign]
    return lambda: len(ran)


async def test_a_batch_that_takes_too_long_is_halved(engine: AsyncEngine) -> None:
    await execute(
        engine,
        "INSERT INTO oban_jobs (worker, state, completed_at)"
        " SELECT 'w', 'completed', timezone('UTC', now()) - interval '2 days' FROM generate_series(1, 500)",
    )
    async with pruner(engine, Prune(limit=1000)) as loop:
        run = loop._lane.run

        async def slow(statement: Any, /, **parameters: Any) -> Any:
            if statement.name == "prune" and parameters["limit"] > 200:
                raise StatementFailed("prune", TimeoutError(), None, unknown=True)
            return await run(statement, **parameters)

        loop._lane.run = slow  # type: ignore[method-assign]
        for _ in range(3):
            with pytest.raises(StatementFailed):
                await loop.step()
        with pytest.raises(StatementFailed):
            await loop.step()  # it grew again, and once too much
        assert len(await left(engine)) < 500


async def test_the_leader_prunes_and_others_do_not(engine: AsyncEngine) -> None:
    await finish(engine, 50)
    async with Oban(engine, prune=None) as leader:
        await eventually(lambda: leader.is_leader)
        async with Oban(engine, prune=Prune(interval=0.05)) as other:
            assert not other.is_leader
            await other._node.duties[-1].step()  # type: ignore[union-attr]
            assert len(await left(engine)) == 1
            await leader.stop()

            async def pruned() -> bool:
                return await left(engine) == set()

            await eventually(pruned)
            await finish(engine, 50)
            await eventually(pruned)


async def test_a_batch_walks_the_old_end_of_a_small_index(engine: AsyncEngine) -> None:
    """On 60,000 finished and 5,000 waiting jobs, in the schema at hand and in another."""
    from oban_sqla import migrations

    await migrations.migrate(engine, schema="pruned")
    fill = (
        "INSERT INTO {}oban_jobs (worker, queue, state, completed_at) SELECT 'w', 'q' || n % 20, 'completed',"
        " timezone('UTC', now()) - make_interval(secs => n * 10) FROM generate_series(1, 60000) n"
    )
    wait = "INSERT INTO {}oban_jobs (worker, workflow_id) SELECT 'w', n % 50 FROM generate_series(1, 5000) n"
    policies = Prune(policies=[Prune.Policy(queue="q1", max_age=60)]).all_policies
    try:
        in_schemas: list[tuple[str, dict[str | None, str | None] | None]] = [("", None), ("pruned.", {None: "pruned"})]
        for prefix, schemas in in_schemas:
            for sql in (fill, wait):
                await execute(engine, sql.format(prefix))
            async with engine.connect() as connection:
                autocommit = await connection.execution_options(isolation_level="AUTOCOMMIT")
                await autocommit.execute(text(f"VACUUM ANALYZE {prefix}oban_jobs"))
            pruning = [made.change for made in statements(policies) if "completed_at" in str(made.change.core)]
            for statement, states in [*((made, ["completed"]) for made in pruning), (stamp, STATES)]:
                compiled = statement.compiled(engine.dialect, schemas)
                values = compiled.values(LEASE | {"limit": 1000, "refused": ["7"]})
                plan = await _plan(engine, compiled.sql, values)
                assert all(f"{state}_at_index" in plan for state in states)
    finally:
        await execute(engine, "DROP SCHEMA pruned CASCADE")


async def _plan(engine: AsyncEngine, sql: str, values: list[Any]) -> str:
    """The plan, checked: no scan of the whole table, and no sort but that of the ids that were deleted."""
    async with engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        await driver.execute("SET plan_cache_mode = force_custom_plan")
        plan = "\n".join(row[0] for row in await driver.fetch(f"EXPLAIN {sql}", *values))
    assert "Seq Scan on oban_jobs" not in plan, plan
    assert set(re.findall(r"Sort Key: (\S+)", plan)) <= {"gone_1.id", "gone_2.id"}, plan
    return plan


def test_it_is_the_table_of_jobs_alone_that_is_pruned() -> None:
    pruning = statements(Prune().all_policies, ())
    assert pruning
    for statement in pruning:
        assert str(statement.change.core).count("DELETE FROM") == 1
        assert f"DELETE FROM {jobs.name}" in str(statement.change.core)
