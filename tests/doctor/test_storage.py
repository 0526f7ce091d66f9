"""Dead rows, and what keeps them: made in a real table."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla.insight.doctor import storage
from oban_sqla.insight.words import room
from oban_sqla.migrations import sizes
from tests.doctor.conftest import diagnose, one
from tests.runtime.helpers import execute, execute_outside
from tests.support import eventually

FILL = (
    "INSERT INTO oban_jobs (worker, queue, args, state, completed_at) SELECT 'some.worker', 'default', '{\"n\": 1}', "
    "'completed', timezone('UTC', now()) FROM generate_series(1, 30000)"
)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is open counts as old, but not yet as very old."""
    monkeypatch.setattr(storage, "OLD", 0.0)


@pytest.mark.parametrize(
    ("begin", "holds"),
    [
        ("SELECT 1; INSERT INTO oban_queues (name, queue) VALUES ('x', 'y')", True),
        ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1", True),
        ("SET LOCAL jit = off", False),  # idle, without a snapshot: it keeps nothing
    ],
)
async def test_an_open_transaction(own_engine: AsyncEngine, at_once: None, begin: str, holds: bool) -> None:
    async with own_engine.connect() as connection:
        [[pid]] = (await connection.execute(text("SELECT pg_backend_pid()"))).all()
        await connection.rollback()
        for statement in begin.split("; "):
            await connection.execute(text(statement))
        finding = await one(own_engine, "oldest_transaction")
        assert finding.status == ("warning" if holds else "ok"), finding
        if holds:
            assert f"(process {pid} of the server, idle in transaction) has been open for " in finding.found
            assert finding.advice == f"commit it, or end it: SELECT pg_terminate_backend({pid})"
    assert (await one(own_engine, "oldest_transaction")).status == "ok"


async def test_a_transaction_that_is_open_for_very_long(
    own_engine: AsyncEngine, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "VERY_OLD", 0.0)
    async with own_engine.connect() as connection:
        await connection.execute(text("SELECT txid_current()"))
        assert (await one(own_engine, "oldest_transaction")).status == "problem"


async def test_dead_rows_that_are_not_removed(own_engine: AsyncEngine) -> None:
    await execute(own_engine, "ALTER TABLE oban_jobs SET (autovacuum_enabled = off)")
    await execute(own_engine, FILL)
    await execute(own_engine, "DELETE FROM oban_jobs WHERE id % 10 < 9")

    async def counted() -> bool:
        return (await one(own_engine, "vacuum")).status == "warning"

    await eventually(counted)
    finding = await one(own_engine, "vacuum")
    assert finding.found == "27,000 dead rows beside 3,000 in the jobs table, never vacuumed"
    await execute_outside(own_engine, "VACUUM oban_jobs")

    async def removed() -> bool:
        finding = await one(own_engine, "vacuum")
        return finding.status == "ok" and ", last vacuumed " in finding.found

    await eventually(removed)


async def test_room_that_is_empty(own_engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "WASTE", 100_000)
    await execute(own_engine, "ALTER TABLE oban_jobs SET (autovacuum_enabled = off)")
    await execute(own_engine, FILL)
    await execute(own_engine, "ANALYZE oban_jobs")
    assert (await one(own_engine, "bloat")).status == "ok"
    await execute(own_engine, "DELETE FROM oban_jobs WHERE id < 29900")
    await execute_outside(own_engine, "VACUUM ANALYZE oban_jobs")
    found = await diagnose(own_engine, "bloat")
    assert [finding.status for finding in found] == ["warning"] * 3
    said = "\n".join(finding.found for finding in found)
    for name in ("the jobs table takes ", "the index oban_jobs_pkey takes ", "the index oban_jobs_completed_at_index "):
        assert name in said
    for finding in found:
        if finding.advice.startswith("REINDEX"):
            await execute_outside(own_engine, finding.advice.partition(",")[0])
    assert [finding.found.split(" takes ")[0] for finding in await diagnose(own_engine, "bloat")] == ["the jobs table"]


def test_the_estimate_is_that_of_its_formula() -> None:
    assert sizes.expected_bytes("r", 0, 100) == sizes.PAGE
    rows = 1_000_000
    assert sizes.expected_bytes("r", rows, 97) == pytest.approx(rows * (104 + 28) / (8168 * 0.85) * 8192)
    assert sizes.expected_bytes("i", rows, 8) == pytest.approx(rows * (8 + 12) / (8168 * 0.9) * 8192)
    assert [room(size) for size in (0, 2048, 5 * 2**20, 300 * 2**30)] == [
        "0.0 kB", "2.0 kB", "5.0 MB", "300 GB"
    ]  # fmt: skip
