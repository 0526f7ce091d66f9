"""Long jobs, in a module that child processes can import."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import date
from typing import Any

from pydantic import BaseModel
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import NullPool

from oban_sqla import Chunk, Job, SignalTimeout, job
from oban_sqla.durable import sleep, step, sync, wait_for

URL = make_url(os.environ.get("OBAN_TEST_CHILD_URL", "postgresql+asyncpg://nowhere")).set(
    drivername="postgresql+psycopg"
)
ChildSession = sessionmaker(create_engine(URL, poolclass=NullPool))
"""The sessionmaker that the children find by its name."""

calls: Counter[str] = Counter()
"""How often each function of a step was called in this process."""
failing: set[str] = set()
"""Jobs that raise at their end, by the name in their arguments."""
bodies: dict[str, Callable[[], Awaitable[Any]]] = {}
"""What :func:`anything` does, by the name in its arguments."""
ADD = text("INSERT INTO durable_effects (what) VALUES (:what)")


class Receipt(BaseModel):
    number: int
    day: date


async def charge(number: int) -> Receipt:
    calls["charge"] += 1
    return Receipt(number=number, day=date(2026, 11, 26))


async def book(session: AsyncSession, job: Job, number: int) -> int:
    calls["book"] += 1
    await session.execute(ADD, {"what": f"book {number}"})
    return number + job.attempt * 0 + 1


def book_here(session: Session, number: int) -> int:
    session.execute(ADD, {"what": f"book {number}"})
    return number + 1


def count_up(number: int) -> tuple[int, str]:
    calls["count_up"] += 1
    return number + 1, threading.current_thread().name


@job(queue="durable", backoff=0, recorded=True)
async def order(number: int, fail: str = "") -> dict[str, Any]:
    receipt = await step("charge", charge, number)
    assert isinstance(receipt, Receipt)
    booked = await step("book", book, number)
    counted, thread = await step("count", count_up, booked)
    calls["runs"] += 1
    if fail in failing:
        failing.discard(fail)
        raise RuntimeError("after its steps")
    return {"day": str(receipt.day), "booked": booked, "counted": counted, "thread": thread}


@job(queue="durable", backoff=0, recorded=True)
def order_here(number: int, fail: str = "") -> list[int]:
    first = sync.step("first", count_up, number)[0]
    booked = sync.step("book", book_here, number)
    sync.sleep(0.1)
    calls["runs"] += 1
    if fail in failing:
        failing.discard(fail)
        raise RuntimeError("after its steps")
    return [first, booked]


@job(queue="durable_children", executor="process", backoff=0, recorded=True)
def order_in_child(number: int) -> list[Any]:
    first = sync.step("first", os.getpid)
    booked = sync.step("book", book_here, number)
    sync.sleep(0.1)
    if sync.step("attempt", _attempts) == 1 and _failed_once(number):
        raise RuntimeError("after its steps")
    try:
        sync.wait_for("never", timeout=0.1, live=0)
    except SignalTimeout:
        return [first, booked, sync.wait_for("go", live=5)]
    raise AssertionError("there was a signal")


@job(queue="durable_children", executor="process", recorded=True)
async def order_in_child_later(number: int) -> list[Any]:
    counted, _ = await step("count", count_up, number)
    await sleep(0.1)
    return [counted, await wait_for("go")]


@job(queue="durable_children", executor="process")
def fails_in_child() -> None:
    sync.step("fails", _fail, 7)


def _fail(number: int) -> None:
    raise ValueError(f"no {number}")


def _attempts() -> int:
    return 1


def _failed_once(number: int) -> bool:
    with ChildSession() as session, session.begin():
        what = {"what": f"failed {number}"}
        failed = session.execute(text("SELECT count(*) FROM durable_effects WHERE what = :what"), what).scalar_one()
        if not failed:
            session.execute(ADD, what)
    return not failed


@job(queue="durable", backoff=0, recorded=True)
async def nap(seconds: float, name: str | None = None) -> str:
    calls["begun"] += 1
    await sleep(seconds, name)
    calls["slept"] += 1
    return "awake"


@job(queue="durable", backoff=0, recorded=True)
async def writes_and_naps(session: AsyncSession, number: int) -> None:
    await session.execute(ADD, {"what": f"own {number}"})
    try:
        await sleep(0.2)
    except Exception:  # a job that handles its errors must not handle its sleep
        calls["handled"] += 1


@job(queue="durable", backoff=0, recorded=True)
async def approval(timeout: float | None = None, live: float = 60.0, times: int = 1) -> list[Any]:
    calls["begun"] += 1
    return [await wait_for("approved", timeout, live) for _ in range(times)]


@job(queue="durable", recorded=True, timeout=60.0, max_attempts=1)
async def impatient() -> Any:
    return await wait_for("approved", live=60.0)


@job(queue="durable", backoff=0, recorded=True, max_attempts=2)
async def anything(name: str) -> Any:
    return await bodies[name]()


@job(queue="durable", backoff=0, recorded=True)
async def with_session(session: AsyncSession, name: str) -> Any:
    await session.execute(ADD, {"what": f"own {name}"})
    return await bodies[name]()


async def value(given: Any) -> Any:
    calls["value"] += 1
    await asyncio.sleep(0)
    return given


@job(queue="durable_children", executor="process")
def twice_in_child() -> None:
    sync.step("one", _attempts)
    sync.step("one", _attempts)


@job(queue="durable", recorded=True)
async def naps(times: int, seconds: float) -> None:
    calls["begun"] += 1
    for _ in range(times):
        await sleep(seconds)


async def note(session: AsyncSession, what: str) -> None:
    await session.execute(ADD, {"what": what})


@job(queue="durable", max_attempts=1, chunk=Chunk(size=2, timeout=0.1))
async def together(jobs: list[Job]) -> None:
    await sleep(1)


@job(queue="durable")
async def writes_after_sleep() -> None:
    await step("first", note, "step")
    await sleep(30)
    await step("last", note, "end")


@job(queue="durable")
async def no_step() -> None:
    calls["no_step"] += 1
