"""What runs every few seconds on a full table costs the same as on an empty one: it never reads the table."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla.statements.cluster import bury, look
from oban_sqla.statements.rescue import discard_exhausted, rescue
from oban_sqla.statements.stage import poll, stage_all, stage_own
from oban_sqla.statements.statement import Statement
from tests.runtime.helpers import execute

LEASE = {"lease": "a", "holder": "b"}
QUEUES = {"queues": [f"q{number}" for number in range(50)]}
BATCH: dict[str, Any] = {"limit": 500, "refused": ["7"]}


@pytest.mark.parametrize(
    ("statement", "parameters"),
    [
        (poll, QUEUES | {"grace": 2.0}),
        (stage_own, QUEUES | BATCH),
        (stage_all, QUEUES | BATCH | LEASE),
        (look, {}),
        (rescue, {"dead": ["x"], "patience": 60.0} | BATCH | LEASE),
        (discard_exhausted, BATCH | LEASE),
        (bury, {"dead": ["x"], "beats": ["y"]} | LEASE),
    ],
    ids=lambda value: value.name if isinstance(value, Statement) else "",
)
async def test_no_duty_reads_the_whole_table(
    engine: AsyncEngine, statement: Statement, parameters: dict[str, Any]
) -> None:
    for state, count in (("available", 20_000), ("scheduled", 20_000), ("completed", 30_000), ("executing", 100)):
        await execute(
            engine,
            "INSERT INTO oban_jobs (worker, queue, state, scheduled_at) "
            f"SELECT 'w', 'q' || i % 50, '{state}', timezone('UTC', now()) + interval '1 day' "
            f"FROM generate_series(1, {count}) i",
        )
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.exec_driver_sql("VACUUM ANALYZE oban_jobs")
        driver: Any = (await connection.get_raw_connection()).driver_connection
        compiled = statement.compiled(engine.dialect)
        await driver.execute("SET plan_cache_mode = force_custom_plan")
        plan = [row[0] for row in await driver.fetch(f"EXPLAIN {compiled.sql}", *compiled.values(parameters))]
    assert not [line for line in plan if "Seq Scan on oban_jobs" in line], "\n".join(plan)
