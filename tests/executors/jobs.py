"""Workers that run in child processes."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import sessionmaker

from oban_sqla import Cancel, Discard, Job, Record, Snooze, cancelled, emit, job, progress, release_slot, worker

URL = os.environ.get("OBAN_TEST_CHILD_URL", "postgresql+asyncpg://nowhere")
Session = async_sessionmaker(create_async_engine(URL), expire_on_commit=False)
PlainSession = sessionmaker()
"""The sessionmaker that the children find by its name; each makes its own engine when it imports this module."""


@job(executor="process", queue="children", recorded=True)
def square(number: int) -> dict[str, int]:
    return {"square": number * number, "pid": os.getpid()}


@job(executor="process", queue="children", recorded=True)
async def square_later(number: int) -> dict[str, int]:
    await asyncio.sleep(0)
    return {"square": number * number, "pid": os.getpid()}


@worker(executor="process", queue="children")
class Classic:
    def process(self, job: Job) -> Record:
        return Record([job.id, job.args["name"], job.attempt])


@job(executor="process", queue="children")
def decide(what: str) -> object:
    match what:
        case "snooze":
            return Snooze(60)
        case "cancel":
            raise Cancel("enough")
        case "discard":
            return Discard("never")
        case _:
            raise ValueError(what)


@job(executor="process", queue="children", max_attempts=20)
def die(how: str) -> None:
    match how:
        case "exit":
            os._exit(3)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "abort":
            os.abort()
        case _:
            raise ValueError(how)


@job(executor="process", queue="children", timeout=0.2)
def spin() -> None:
    """Holds the interpreter's lock in a loop of C, and looks at no signal."""
    sum(itertools.repeat(0))


@job(executor="process", queue="children", timeout=1, recorded=True)
async def dawdle(file: str) -> None:
    try:
        await asyncio.sleep(60)
    finally:
        Path(file).write_text("cleaned up")  # noqa: ASYNC240


@job(executor="process", queue="children")
def hold(file: str) -> None:
    """Starts a program, says which processes there are, and sleeps."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(file).write_text(json.dumps([os.getpid(), child.pid]))
    time.sleep(600)


@job(executor="process", queue="children", recorded=True)
def patient(job: Job) -> str | None:
    there = pickle.loads(pickle.dumps(job))
    while not job.cancelled():
        time.sleep(0.01)
    assert cancelled()
    assert not there.cancelled()
    return None


@job(executor="process", queue="children")
def burn(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


@job(executor="process", queue="children", recorded=True)
def grow(bytes: int) -> int:
    """Keeps so much memory."""
    kept.append(b"x" * bytes)
    return os.getpid()


kept: list[bytes] = []


@job(executor="process", queue="children", max_attempts=1)
def break_down() -> None:
    logging.getLogger("tests.executors").warning("about to break down")
    raise ValueError("no way")


@job(executor="process", queue="children", max_attempts=1)
async def refused(session: AsyncSession, secret: str) -> None:
    await session.execute(text("SELECT no_such_column, CAST(:secret AS text)"), {"secret": secret})


@job(executor="process", queue="children")
def talk(word: str) -> None:
    logging.getLogger("tests.executors").warning("the job says %s", word, extra={"word": word})


@job(executor="process", queue="children")
async def add(session: AsyncSession, amount: int) -> None:
    await session.execute(text("UPDATE child_sums SET total = total + :amount"), {"amount": amount})
    await asyncio.sleep(0.005)


@job(executor="process", queue="children", timeout=0.5)
async def commit_slowly(session: AsyncSession) -> None:
    await session.execute(text("INSERT INTO slow_commits VALUES (1)"))


@job(executor="process", queue="children")
async def enqueue_more(session: AsyncSession) -> None:
    session.add(square.new(9))


@job(executor="nowhere", queue="children")
def stranded() -> None: ...


@job(executor="process", queue="children")
def lets_its_slot_go(path: str) -> None:
    release_slot()
    while not Path(path).exists():
        time.sleep(0.02)


@job(executor="process", queue="children")
def tells(count: int) -> None:
    for number in range(1, count + 1):
        emit(number)
        progress(number, count)
        logging.getLogger("tests.executors").warning("line %d", number)


@job(executor="process", queue="children")
async def tells_in_session(session: AsyncSession) -> None:
    await session.execute(text("SELECT 1"))
    for number in range(1, 4):
        await emit(number)
    await progress(3, 3, "done")
