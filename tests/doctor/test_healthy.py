"""A database with nothing wrong: nothing is said, in whatever way it is reached, and whatever it runs."""

from __future__ import annotations

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from oban_sqla import InvalidOption, Oban, Queue, Snooze, job, migrations
from oban_sqla.insight.doctor import OF_THE_SERVER, OF_THE_TABLES, Finding, examine
from tests.cluster.pgbouncer import needed, pgbouncer
from tests.integration.node import pooled
from tests.runtime.helpers import execute, insert, until

EVERY = [check.__name__ for check in (*OF_THE_SERVER, *OF_THE_TABLES)]


@job(name="doctor.quick", queue="a")
async def quick() -> None: ...


@job(name="doctor.fails", queue="a")
async def fails() -> None:
    raise ValueError("no")


@job(name="doctor.later", queue="b")
async def later() -> None:
    raise Snooze(60)


def bad(found: list[Finding]) -> list[Finding]:
    return [finding for finding in found if finding.status != "ok"]


async def test_a_url_in_the_place_of_an_engine_is_refused() -> None:
    with pytest.raises(InvalidOption, match=r"^examine: expected an AsyncEngine, got str; make one with "):
        await examine("postgresql://localhost/app")  # type: ignore[arg-type]


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
@pytest.mark.parametrize("schema", [None, "jobs", 'a "strange" Schema'.replace('"', "")])
async def test_a_new_database(empty_database: str, driver: str, schema: str | None) -> None:
    engine = create_async_engine(make_url(empty_database).set(drivername=f"postgresql+{driver}"))
    if schema is not None:
        engine = engine.execution_options(schema_translate_map={None: schema})
    try:
        await migrations.migrate(engine, schema)
        found = await examine(engine)
    finally:
        await engine.dispose()
    assert not bad(found)
    assert [finding.check for finding in found] == EVERY
    assert all(finding.found and not finding.why and not finding.advice for finding in found)


async def test_every_check_says_what_it_is_about() -> None:
    assert all(check.__doc__ for check in (*OF_THE_SERVER, *OF_THE_TABLES))
    assert len(set(EVERY)) == len(EVERY)


async def test_all_is_well_while_nodes_work(own_engine: AsyncEngine) -> None:
    queues: dict[str, int | Queue] = {"a": 5, "b": Queue(limit=1)}
    async with Oban(own_engine, queues=queues, node="one"), Oban(own_engine, queues=queues, node="two", name="Other"):
        ids = await insert(own_engine, *(quick.new() for _ in range(200)))
        [failed, snoozed] = await insert(own_engine, fails.new(), later.new())
        for job_id, state in [(ids[-1], "completed"), (failed, "retryable"), (snoozed, "scheduled")]:
            await until(own_engine, job_id, state)
        found = await examine(own_engine)
        assert not bad(found)
        said = {finding.check: finding.found for finding in found}
        assert said["living_nodes"] == "2 nodes: one, two"
        assert said["leader"] == "one leads Oban, two leads Other"
    assert not bad(await examine(own_engine))


async def test_a_full_and_analysed_table_is_not_called_bloated(
    own_engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oban_sqla.migrations.sizes.WASTE", 0)
    await execute(
        own_engine,
        "INSERT INTO oban_jobs (worker, queue, args, state, completed_at, scheduled_at) "
        "SELECT 'some.worker', 'q' || i % 7, jsonb_build_object('n', i), CASE i % 4 WHEN 0 THEN 'completed' "
        "WHEN 1 THEN 'scheduled' WHEN 2 THEN 'cancelled' ELSE 'retryable' END::oban_job_state, now(), "
        "now() + interval '1 d' FROM generate_series(1, 40000) i",
    )
    await execute(own_engine, "ANALYZE oban_jobs")
    assert not bad(await examine(own_engine))


async def test_it_writes_nothing(own_engine: AsyncEngine, migrated_database: str) -> None:
    """Also where nothing can be written: each statement is one that a read-only transaction allows."""
    settings = {"server_settings": {"default_transaction_read_only": "on"}}
    reading = create_async_engine(migrated_database, connect_args=settings)
    try:
        assert not bad(await examine(reading))
    finally:
        await reading.dispose()


@needed
@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_transaction_pooler_is_told_and_nothing_is_left_behind_it(
    own_engine: AsyncEngine, migrated_database: str, driver: str
) -> None:
    async with pgbouncer(migrated_database, pool_size=2) as address:
        address = address.set(drivername=f"postgresql+{driver}")
        through = create_async_engine(address, connect_args=pooled(str(address)))
        try:
            found = await examine(through)
            assert [(finding.check, finding.status) for finding in bad(found)] == [("pooler", "warning")]
            async with through.connect() as connection:
                left = "SELECT current_setting('statement_timeout'), current_setting('enable_seqscan')"
                assert (await connection.execute(text(left))).all() == [("0", "on")]
        finally:
            await through.dispose()


async def test_a_database_without_tables(empty_database: str) -> None:
    engine = create_async_engine(empty_database)
    try:
        [finding] = bad(await examine(engine))
        assert (finding.check, finding.status) == ("schema_version", "problem")
        assert finding.found == "no oban_sqla tables found: there is no oban_jobs"
        await migrations.migrate(engine, schema="jobs")
        [finding] = bad(await examine(engine))
        assert finding.found == "no oban_sqla tables found: there is no oban_jobs, but in the schema 'jobs'"
        assert finding.advice.startswith("name that schema: use_schema(…)")
    finally:
        await engine.dispose()


async def test_what_can_t_be_looked_at_is_skipped_and_the_others_go_on(
    own_engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oban_sqla.insight.doctor.PATIENCE", 300)
    async with own_engine.connect() as connection:
        await connection.execute(text("LOCK TABLE oban_leaders IN ACCESS EXCLUSIVE MODE"))
        found = await examine(own_engine)
    assert {finding.check for finding in found if finding.status == "skipped"} == {
        "living_nodes", "leader", "foreign_leader", "dead_nodes", "limits"
    }  # fmt: skip
    assert all("canceling statement due to" in finding.found for finding in found if finding.status == "skipped")
    assert [finding.check for finding in found] == EVERY
