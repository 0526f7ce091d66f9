"""The plans of the hot statements (R0), pinned on a filled table.

A worker that starts on an empty table meets a full one later; statistics are missing, or old, or lie about states
that come and go in a second. None of that may make a hot statement read more of the table than its own rows.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest
from psycopg import Connection, sql
from sqlalchemy import Dialect, make_url
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from oban_sqla import Oban, migrations
from oban_sqla.runtime.lanes.settings import INSERT_ONCE, PLAN_ONCE, SETTINGS
from oban_sqla.statements.ack import acknowledge, complete, still_ours
from oban_sqla.statements.fetch import fetch, fetch_onward, fetch_others
from oban_sqla.statements.insert import insert_plain
from oban_sqla.statements.rescue import reconcile
from oban_sqla.statements.stage import poll, stage_all, stage_own
from oban_sqla.statements.statement import Statement
from oban_sqla.statements.steps import send
from tests.database import create_database, drop_database

DIALECT: Dialect = asyncpg.dialect()  # type: ignore[no-untyped-call]
FINISHED, SCHEDULED, AVAILABLE, EXECUTING = 50_000, 15_000, 15_000, 100
FEW = {"finished": 1_000, "scheduled": 100, "available": 10, "executing": 10}
MANY = {"finished": 20_000, "scheduled": 5_000, "available": 5_000, "executing": 100}
"""For plans that are there already: a size at which PostgreSQL would still be glad to read the table instead."""
THEN = datetime(2024, 1, 1)
PRODUCER = "8c6b6f0e-0000-4000-8000-000000000000"

FILL = """
INSERT INTO {table} (worker, queue, state, attempt, attempted_by, attempted_at, scheduled_at, completed_at)
  SELECT 'w', 'queue-' || i % 5, 'completed', 1, ARRAY['n', '{producer}'], now(), '{then}', now()
    FROM generate_series(1, {finished}) i;
INSERT INTO {table} (worker, queue, state, scheduled_at)
  SELECT 'w', 'queue-' || i % 5, 'scheduled', timestamp '{then}' + i * interval '1 hour'
    FROM generate_series(1, {scheduled}) i;
INSERT INTO {table} (worker, queue, priority, scheduled_at)
  SELECT 'w', 'queue-' || i % 5, i % 3, timestamp '{then}' + i * interval '1 second'
    FROM generate_series(1, {available}) i;
INSERT INTO {table} (worker, queue, state, attempt, attempted_by, attempted_at, scheduled_at)
  SELECT 'w', 'queue-' || i % 5, 'executing', 1, ARRAY['n', '{producer}'], '{then}', '{then}'
    FROM generate_series(1, {executing}) i;
"""

IDS = [FINISHED + SCHEDULED + AVAILABLE + number for number in range(1, 101)]
RUNS: dict[str, Any] = {
    "id": IDS,
    "attempt": [1] * 100,
    "producer": [PRODUCER] * 100,
    "attempted_at": [THEN] * 100,
}
FETCH: dict[str, Any] = {"queue": "queue-1", "limit": 10, "attempted_by": ["n", PRODUCER], "unknown": ["other"]}
SIGNAL: dict[str, Any] = {
    "job_id": IDS[0], "name": "go", "payload": "1", "sealed": False, "encrypting": ["w"], "channel": "c", "notice": "n"
}  # fmt: skip
OUTCOMES: dict[str, Any] = {
    "state": ["retryable"] * 100,
    "delay": [15.0] * 100,
    "burned": [1] * 100,
    "error": ['[{"attempt": 1}]'] * 100,
    "meta": [None] * 100,
}
PLANNED_ONCE = {fetch, fetch_onward, fetch_others, reconcile, complete, acknowledge, still_ours}
"""What the lanes that fetch and acknowledge run."""
QUEUES = [f"queue-{number}" for number in range(5)]

PRIMARY, FETCHING = "oban_jobs_pkey", "oban_jobs_fetch_index"
STAGING, RUNNING = "oban_jobs_staging_index", "oban_jobs_executing_index"

HOT: list[tuple[Statement, dict[str, Any], set[str]]] = [
    # The statement, parameters, and the indexes that it uses, all of them and no others.
    (fetch, FETCH, {FETCHING, PRIMARY}),
    (fetch_onward, FETCH | {"priority": 1, "scheduled_at": THEN, "id": 1}, {FETCHING, PRIMARY}),
    (fetch_others, FETCH | {"refused": ["7"]}, {FETCHING, PRIMARY}),
    (complete, RUNS, {PRIMARY}),
    (acknowledge, RUNS | OUTCOMES, {PRIMARY}),
    (still_ours, RUNS, {PRIMARY}),
    (reconcile, {"queue": "queue-1", "producer": PRODUCER, "held": IDS[:50], "refused": [], "limit": 1000}, {RUNNING}),
    (stage_own, {"queues": QUEUES, "limit": 5000, "refused": ["7"]}, {STAGING, FETCHING, PRIMARY}),
    (
        stage_all,
        {"queues": QUEUES, "limit": 5000, "refused": ["7"], "lease": "l", "holder": "h"},
        {STAGING, FETCHING, PRIMARY},
    ),
    (send, SIGNAL, {PRIMARY}),
    (poll, {"queues": QUEUES, "grace": 5.0}, {STAGING, FETCHING}),
]


@pytest.fixture(scope="module", params=[None, "plans"], ids=["public", "another schema"])
def schema(request: pytest.FixtureRequest) -> str | None:
    return request.param


@pytest.fixture(scope="module")
def filled(server_url: Any, schema: str | None) -> Iterator[Connection[Any]]:
    """A connection with the settings of a lane, to a database with a filled table that was never analysed."""
    with migrated(server_url, schema, "plans") as connection:
        fill(connection, schema)
        yield connection


@contextmanager
def migrated(server_url: Any, schema: str | None, name: str) -> Generator[Connection[Any]]:
    """A connection with the settings of a lane, to a database with empty tables."""
    name = f"oban_{name}_{os.getpid()}_{schema or 'public'}"

    async def prepare() -> str:
        url = await create_database(server_url, name)
        engine = create_async_engine(url)
        await migrations.migrate(engine, schema=schema)
        await engine.dispose()
        return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)

    url = asyncio.run(prepare())
    try:
        with Connection.connect(url, autocommit=True) as connection:
            for command in (*SETTINGS, f"ALTER TABLE {table(schema)} SET (autovacuum_enabled = off)"):
                connection.execute(command.encode())
            yield connection
    finally:
        asyncio.run(drop_database(server_url, name))


def table(schema: str | None) -> str:
    return "oban_jobs" if schema is None else f"{schema}.oban_jobs"


def fill(
    connection: Connection[Any],
    schema: str | None,
    finished: int = FINISHED,
    scheduled: int = SCHEDULED,
    available: int = AVAILABLE,
    executing: int = EXECUTING,
) -> None:
    commands = FILL.format(
        table=table(schema), producer=PRODUCER, then=THEN,
        finished=finished, scheduled=scheduled, available=available, executing=executing,
    )  # fmt: skip
    for command in commands.split(";\n"):
        if command.strip():
            connection.execute(command.encode())


def plan(connection: Connection[Any], statement: Statement, given: dict[str, Any], schema: str | None) -> Any:
    """The plan of the statement as lanes send it."""
    prepare(connection, statement, schema)
    try:
        return prepared_plan(connection, statement, given)
    finally:
        connection.execute(f"DEALLOCATE pinned_{statement.name}".encode())


def prepare(connection: Connection[Any], statement: Statement, schema: str | None) -> None:
    compiled = statement.compiled(DIALECT, {None: schema} if schema else None)
    connection.execute(f"PREPARE pinned_{statement.name} AS {compiled.sql}".encode())


def prepared_plan(connection: Connection[Any], statement: Statement, given: dict[str, Any]) -> Any:
    compiled = statement.compiled(DIALECT)
    values = sql.SQL(", ").join(sql.Literal(value) for value in compiled.values(given))
    execute = sql.SQL("EXPLAIN (FORMAT JSON) EXECUTE {}").format(sql.Identifier(f"pinned_{statement.name}"))
    if compiled.parameters:
        execute += sql.SQL("({})").format(values)
    [(found,)] = connection.execute(execute).fetchall()
    return found[0]["Plan"]


def nodes(tree: Any) -> Iterator[dict[str, Any]]:
    yield tree
    for child in tree.get("Plans", ()):
        yield from nodes(child)


def check(tree: Any, indexes: set[str]) -> list[str]:
    """What is wrong with a plan."""
    found = list(nodes(tree))
    wrong = [
        f"{node['Node Type']} on oban_jobs"
        for node in found
        if node["Node Type"] == "Seq Scan" and node.get("Relation Name") == "oban_jobs"
    ]
    wrong += [
        f"all of {node['Index Name']}"
        for node in found
        if node.get("Index Name") == PRIMARY and "Index Cond" not in node
    ]
    # Beside rows that were found by their ids a hash of what was given is right: a loop would be quadratic.
    wrong += [
        f"{node['Node Type']} over {scan['Node Type']}"
        for node in found
        if node["Node Type"] in ("Hash Join", "Merge Join")
        for scan in nodes(node)
        if scan.get("Relation Name") == "oban_jobs"
        and "id = ANY" not in str(scan.get("Index Cond", scan.get("Recheck Cond")))
    ]
    used = {node["Index Name"] for node in found if str(node.get("Index Name")).startswith("oban_jobs")}
    if used != indexes:
        wrong.append(f"uses {sorted(used)}, not {sorted(indexes)}")
    return wrong


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("analysed", [False, True], ids=["never analysed", "analysed"])
def test_hot_statements_use_their_indexes_and_never_read_the_table(
    filled: Connection[Any], schema: str | None, analysed: bool, mode: str
) -> None:
    if analysed:
        filled.execute("ANALYZE")
    filled.execute(f"SET plan_cache_mode = {mode}".encode())
    assert wrong({statement: plan(filled, statement, given, schema) for statement, given, _ in HOT}) == {}


def wrong(plans: dict[Statement, Any]) -> dict[str, list[str]]:
    """What is wrong, by statement; its plan is printed."""
    indexes = {statement: used for statement, _, used in HOT}
    found = {statement: check(tree, indexes[statement]) for statement, tree in plans.items()}
    for statement in (statement for statement, said in found.items() if said):
        print(statement.name, json.dumps(plans[statement], indent=1))
    return {statement.name: said for statement, said in found.items() if said}


BEGINNINGS = ["empty", "empty and analysed", "a few rows", "a few rows and analysed"]


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_plans_that_were_made_once_are_right_for_a_table_that_has_filled_since(
    server_url: Any, schema: str | None, beginning: str
) -> None:
    once = [(statement, given) for statement, given, _ in HOT if statement in PLANNED_ONCE]
    with migrated(server_url, schema, "once") as connection:
        if "few" in beginning:
            fill(connection, schema, **FEW)
        if "analysed" in beginning:
            connection.execute("VACUUM ANALYZE")
        for command in PLAN_ONCE:
            connection.execute(command.encode())
        for statement, given in once:
            prepare(connection, statement, schema)
            prepared_plan(connection, statement, given)
        fill(connection, schema, **MANY)
        assert wrong({statement: prepared_plan(connection, statement, given) for statement, given in once}) == {}


async def test_each_lane_plans_as_its_statements_need(engine: AsyncEngine) -> None:
    async with Oban(engine) as oban:
        assert oban._node is not None
        at = oban._node.connections
        modes = {
            lane.name: await lane.guarded(lambda driver: driver.fetchval("SHOW plan_cache_mode"))
            for lane in (at.fetching, at.acking, at.inserting, at.upkeep, at.leading, at.pruning)
        }
        sorts = [
            await lane.guarded(lambda driver: driver.fetchval("SHOW enable_incremental_sort"))
            for lane in (at.fetching, at.acking)
        ]
    once, always = "force_generic_plan", "force_custom_plan"
    assert modes == {
        "fetching": once, "acking": once, "inserting": once, "upkeep": always, "leading": always, "pruning": always
    }  # fmt: skip
    assert sorts == ["off", "off"], "the order of another index would be completed by sorting all that waits"


def test_inserting_reads_nothing_of_the_table(filled: Connection[Any], schema: str | None) -> None:
    arrays = ("kind", "args", "worker", "queue", "meta", "tags", "priority", "max_attempts", "at", "delay")
    tree = plan(filled, insert_plain, {name: [] for name in arrays}, schema)
    assert check(tree, set()) == []


def test_a_thousand_kinds_of_jobs_are_not_looked_through_for_each(filled: Connection[Any], schema: str | None) -> None:
    arrays = ("kind", "args", "worker", "queue", "meta", "tags", "priority", "max_attempts", "at", "delay")
    with filled.transaction():
        for command in INSERT_ONCE:
            filled.execute(command.replace("SET ", "SET LOCAL ").encode())
        tree = plan(filled, insert_plain, {name: [] for name in arrays}, schema)
    joins = [node["Node Type"] for node in nodes(tree) if "Join" in node["Node Type"] or "Loop" in node["Node Type"]]
    assert set(joins) == {"Hash Join"}  # with the kinds, and with the few queues that are partitioned


def test_a_check_that_finds_nothing_would_be_no_check(filled: Connection[Any], schema: str | None) -> None:
    explain = f"EXPLAIN (FORMAT JSON) SELECT id FROM {table(schema)} ORDER BY id".encode()
    [(found,)] = filled.execute(explain).fetchall()
    assert check(found[0]["Plan"], {PRIMARY}) == [f"all of {PRIMARY}"]
    filled.execute("SET enable_indexscan = off; SET enable_bitmapscan = off; SET enable_seqscan = on")
    try:
        [(found,)] = filled.execute(
            f"EXPLAIN (FORMAT JSON) SELECT * FROM {table(schema)} WHERE id = 1".encode()
        ).fetchall()
        assert check(found[0]["Plan"], {PRIMARY}) == ["Seq Scan on oban_jobs", f"uses [], not ['{PRIMARY}']"]
    finally:
        filled.execute("RESET enable_indexscan; RESET enable_bitmapscan; RESET enable_seqscan")
