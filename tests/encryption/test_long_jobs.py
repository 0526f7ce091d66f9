"""What long jobs leave: values of steps, signals, events and logs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from oban_sqla import (
    Encryption,
    InvalidOption,
    JobDiscarded,
    JobLogs,
    JobSpec,
    Oban,
    Workflow,
    configure_encryption,
    job,
)
from oban_sqla.enqueueing.signals import send_signal
from tests.encryption.conftest import Leaks
from tests.encryption.jobs import CANARY, approve, charge, plain
from tests.runtime.helpers import execute, insert, until


async def test_steps_signals_and_events_are_encrypted(
    engine: AsyncEngine, keys: Encryption, leaks: Leaks, key: str
) -> None:
    logs = JobLogs(level="INFO", most=100)
    sessions = async_sessionmaker(engine)
    async with Oban(engine, {"secrets": 2}, sessionmaker=sessions, encryption=keys, job_logs=logs) as oban:
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
        assert len(await execute(engine, "SELECT 1 FROM oban_steps")) >= 3


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


@job(queue="secrets")
async def uses(value: Any) -> None: ...


@job(queue="secrets", recorded=True)
async def numbers() -> list[int]:
    return []


CARRIED: dict[str, Callable[[Workflow], object]] = {
    "from": lambda flow: flow.add(plain.new(encrypted=flow.add(charge.new(CANARY)).result)),
    "to": lambda flow: flow.add(charge.new(card=flow.add(plain.new()).result)),
    "from a workflow": lambda flow: flow.add(uses.new(flow.add(inner(charge.new(CANARY))).result)),
    "from a map": lambda flow: flow.add(uses.new(flow.map(charge.new, over=[CANARY]).results[0])),
    "over": lambda flow: flow.map(uses.new, over=flow.add(approve.new(CANARY)).result),
    "in a map": lambda flow: flow.map(lambda _: charge.new(CANARY), over=flow.add(numbers.new()).result),
}


@pytest.mark.parametrize("build", CARRIED.values(), ids=CARRIED)
def test_a_workflow_carries_no_results_from_or_to_encrypted_jobs(build: Callable[[Workflow], object]) -> None:
    with pytest.raises(InvalidOption, match="encrypts what it stores"):
        build(Workflow("secrets"))


def inner(spec: JobSpec[Any]) -> Workflow:
    flow = Workflow("inner")
    flow.returns(flow.add(spec))
    return flow


@job(queue="secrets", max_attempts=1)
async def plans(several: bool = False) -> Workflow:
    if not several:
        return inner(charge.new(CANARY))
    flow = Workflow("several")
    flow.returns(flow.map(charge.new, over=[CANARY, "another"]))
    return flow


@job(queue="secrets")
async def plans_a_plan() -> Workflow:
    return inner(plans.new())


async def test_what_a_workflow_returns_is_decrypted_for_its_caller_and_not_for_another_job(
    oban: Oban, engine: AsyncEngine, leaks: Leaks
) -> None:
    alone, several, outer = plans.new(), plans.new(several=True), inner(plans_a_plan.new())
    used = Workflow("used")
    used.add(uses.new(used.add(plans_a_plan.new()).result))
    async with AsyncSession(engine, expire_on_commit=False) as session:
        session.add_all([alone, several, outer, used])
        await session.commit()
    wanted: Any = f"charged {CANARY}"
    for target in (alone, alone.id or 0, outer, await load_flow(engine, outer.id)):
        assert await oban.result(target, timeout=20) == wanted
    pair: Any = [wanted, "charged another"]
    assert await oban.result(several, timeout=20) == pair
    with pytest.raises(JobDiscarded, match="returns what encryption.charge encrypts, and another job takes the result"):
        await oban.result(used, timeout=20)
    assert await leaks() == []


async def load_flow(engine: AsyncEngine, flow_id: int | None) -> Workflow:
    async with AsyncSession(engine) as session:
        return await session.get_one(Workflow, flow_id)
