"""What long jobs leave: values of steps, signals, events and logs."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from oban_sqla import Encryption, InvalidOption, JobLogs, Oban, Workflow, configure_encryption
from oban_sqla.enqueueing.signals import send_signal
from tests.encryption.conftest import Leaks
from tests.encryption.jobs import CANARY, approve, charge, plain
from tests.runtime.helpers import execute, insert, until


async def test_steps_signals_and_events_are_encrypted(
    engine: AsyncEngine, keys: Encryption, leaks: Leaks, key: str
) -> None:
    logs = JobLogs(level="INFO", most=100)
    async with Oban(engine, queues={"secrets": 2}, encryption=keys, job_logs=logs) as oban:
        configure_encryption(keys)
        [job_id] = await insert(engine, approve.new(CANARY))
        await until(engine, job_id, lambda job: job.state == "scheduled" and job.attempted_at is not None)
        assert await oban.signal(job_id, "approved", {"by": CANARY})
        done = await until(engine, job_id, "completed")
        assert await oban.result(job_id) == [f"charged {CANARY}", {"by": CANARY}]
        events = [value async for _, value in oban.stream(job_id)]
        assert events[0] == {"card": CANARY}
        assert done.attempt == 1
        assert await leaks() == []
        assert len(await execute(engine, "SELECT 1 FROM oban_steps")) >= 2


async def test_a_step_that_no_key_opens_gives_the_job_back(engine: AsyncEngine, keys: Encryption) -> None:
    other = Encryption(keys=[Fernet.generate_key()])
    configure_encryption(keys)
    async with Oban(engine, queues={"secrets": 2}, encryption=keys) as oban:
        [job_id] = await insert(engine, approve.new(CANARY))
        await until(engine, job_id, lambda job: job.state == "scheduled" and job.attempted_at is not None)
    await execute(engine, "UPDATE oban_steps SET value = cast(:value AS jsonb)", value=await _token(engine, other))
    async with Oban(engine, queues={"secrets": 2}, encryption=keys) as oban:
        assert await oban.signal(job_id, "approved", "yes")
        left = await until(engine, job_id, lambda job: job.meta.get("missing_key"))
        assert (left.state, left.attempt, left.errors) == ("scheduled", 0, [])


async def _token(engine: AsyncEngine, keys: Encryption) -> str:
    from oban_sqla.options.encryption import seal

    return seal("encryption.approve", '"x"', keys)


async def test_a_signal_for_an_encrypted_job_needs_keys_and_does_not_need_the_worker(
    engine: AsyncEngine, keys: Encryption
) -> None:
    configure_encryption(keys)
    [known] = await insert(engine, charge.options(schedule_in=60).new(CANARY))
    await execute(engine, "UPDATE oban_jobs SET worker = 'another.program'")
    async with AsyncSession(engine) as session, session.begin():
        assert await session.run_sync(send_signal, known, "approved", CANARY)
    [(payload,)] = await execute(engine, "SELECT payload::text FROM oban_signals")
    assert CANARY not in payload
    configure_encryption(None)
    async with AsyncSession(engine) as session:
        with pytest.raises(InvalidOption, match="no keys"):
            await session.run_sync(send_signal, known, "approved", CANARY)


def test_a_workflow_carries_no_results_from_or_to_encrypted_jobs() -> None:
    flow = Workflow("secrets")
    node = flow.add(charge.new(CANARY), name="charge")
    with pytest.raises(InvalidOption, match="encrypts what it stores"):
        flow.add(plain.new(encrypted=node.result), name="plain")
    other = flow.add(plain.new(), name="first")
    with pytest.raises(InvalidOption, match="encrypts what it stores"):
        flow.add(charge.new(card=other.result), name="second")
