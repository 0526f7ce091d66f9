"""Dead rows, and what keeps them: made in a real table."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla.insight.doctor import storage
from tests.doctor.conftest import diagnose, one
from tests.runtime.helpers import execute
from tests.support import eventually

FILL = (
    "INSERT INTO oban_jobs (worker, queue, args, state, completed_at) SELECT 'some.worker', 'default', '{\"n\": 1}', "
    "'completed', timezone('UTC', now()) FROM generate_series(1, 30000)"
)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is open counts as old, but not yet as very old."""
    monkeypatch.setattr(storage, "OLD", 0.0)


async def outside(engine: AsyncEngine, sql: str) -> None:
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text(sql))


@pytest.mark.parametrize(
    ("begin", "holds"),
    [
        ("SELECT 1; INSERT INTO oban_queues (name, queue) VALUES ('x', 'y')", True),
        ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1", True),
        ("SET LOCAL jit = off", False),  # idle, without a snapshot: it keeps nothing
    ],
)
async def test_an_open_transaction(patient: AsyncEngine, at_once: None, begin: str, holds: bool) -> None:
    async with patient.connect() as connection:
        [[pid]] = (await connection.execute(text("SELECT pg_backend_pid()"))).all()
        await connection.rollback()
        for statement in begin.split("; "):
            await connection.execute(text(statement))
        finding = await one(patient, "oldest_transaction")
        assert finding.status == ("warning" if holds else "ok"), finding
        if holds:
            assert f"(process {pid} of the server, idle in transaction) has been open for " in finding.found
            assert finding.advice == f"commit it, or end it: SELECT pg_terminate_backend({pid})"
    assert (await one(patient, "oldest_transaction")).status == "ok"


async def test_a_transaction_that_is_open_for_very_long(
    patient: AsyncEngine, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "VERY_OLD", 0.0)
    async with patient.connect() as connection:
        await connection.execute(text("SELECT txid_current()"))
        assert (await one(patient, "oldest_transaction")).status == "problem"


async def test_dead_rows_that_nobody_removes(patient: AsyncEngine) -> None:
    await execute(patient, "ALTER TABLE oban_jobs SET (autovacuum_enabled = off)")
    await execute(patient, FILL)
    await execute(patient, "DELETE FROM oban_jobs WHERE id % 10 < 9")

    async def counted() -> bool:
        return (await one(patient, "vacuum")).status == "warning"

    await eventually(counted)
    finding = await one(patient, "vacuum")
    assert finding.found == "27,000 dead rows beside 3,000 in the jobs table, never vacuumed"
    await outside(patient, "VACUUM oban_jobs")

    async def removed() -> bool:
        finding = await one(patient, "vacuum")
        return finding.status == "ok" and ", last vacuumed " in finding.found

    await eventually(removed)


async def test_room_that_is_empty(patient: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "WASTE", 100_000)
    await execute(patient, "ALTER TABLE oban_jobs SET (autovacuum_enabled = off)")
    await execute(patient, FILL)
    await execute(patient, "ANALYZE oban_jobs")
    assert (await one(patient, "bloat")).status == "ok"
    await execute(patient, "DELETE FROM oban_jobs WHERE id < 29900")
    await outside(patient, "VACUUM ANALYZE oban_jobs")
    found = await diagnose(patient, "bloat")
    assert [finding.status for finding in found] == ["warning"] * 3
    said = "\n".join(finding.found for finding in found)
    for name in ("the jobs table takes ", "the index oban_jobs_pkey takes ", "the index oban_jobs_completed_at_index "):
        assert name in said
    for finding in found:
        if finding.advice.startswith("REINDEX"):
            await outside(patient, finding.advice.partition(",")[0])
    assert [finding.found.split(" takes ")[0] for finding in await diagnose(patient, "bloat")] == ["the jobs table"]


def test_the_estimate_is_that_of_its_formula() -> None:
    assert storage.expected_bytes("r", 0, 100) == storage.PAGE
    rows = 1_000_000
    assert storage.expected_bytes("r", rows, 97) == pytest.approx(rows * (104 + 28) / (8168 * 0.85) * 8192)
    assert storage.expected_bytes("i", rows, 8) == pytest.approx(rows * (8 + 12) / (8168 * 0.9) * 8192)
    assert [storage._bytes(size) for size in (0, 2048, 5 * 2**20, 300 * 2**30)] == [
        "0.0 kB", "2.0 kB", "5.0 MB", "300 GB"
    ]  # fmt: skip
