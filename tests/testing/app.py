"""An application as users have one: a table of its own, and jobs."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

from sqlalchemy import Text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from oban_sqla import Cancel, Discard, Job, Record, Snooze, cancelled, current_job, enqueue, job, worker


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "testing_users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    welcomed: Mapped[int] = mapped_column(default=0)


calls: list[Any] = []
"""What the jobs without a session have done."""


class Broken(Exception):
    pass


@job(queue="mail")
async def send(to: str, greeting: str = "Hello") -> str:
    await asyncio.sleep(0)
    calls.append((greeting, to))
    return f"{greeting} {to}"


@job
def resize(width: int) -> int:
    calls.append((threading.current_thread(), current_job().id))
    return width * 2


@job
async def welcome(session: AsyncSession, user_id: int) -> None:
    user = await session.get_one(User, user_id)
    user.welcomed += 1


@job(queue="plain_sessions")
def welcome_plain(session: Session, user_id: int) -> None:
    session.get_one(User, user_id).welcomed += 1


@job
async def add_and(session: AsyncSession, name: str, then: str) -> Any:
    session.add(User(name=name))
    await session.flush()
    return await _then(session, then)


async def _then(session: AsyncSession, then: str) -> Any:
    match then:
        case "raise":
            raise Broken("on the way")
        case "raise a snooze" | "raise a record":
            raise OUTCOMES[then.removeprefix("raise a ")]()
        case "commit":
            await session.commit()
        case "commit after a savepoint":
            async with session.begin_nested():
                session.add(User(name="in the savepoint"))
            await session.commit()
        case "hang":
            await asyncio.Event().wait()
        case "delete the job":
            await session.delete(await session.get_one(Job, current_job().id))
        case _:
            return OUTCOMES[then]()
    return None


@job(queue="plain_sessions")
def add_plain_and(session: Session, name: str, then: str) -> Any:
    session.add(User(name=name))
    session.flush()
    match then:
        case "raise":
            raise Broken("on the way")
        case "raise a snooze" | "raise a record":
            raise OUTCOMES[then.removeprefix("raise a ")]()
        case "commit":
            return session.commit()
        case _:
            return OUTCOMES[then]()


OUTCOMES: dict[str, Any] = {
    "nothing": lambda: None,
    "snooze": lambda: Snooze(60),
    "cancel": lambda: Cancel("no such account"),
    "discard": lambda: Discard("hopeless"),
    "record": lambda: Record({"rows": 3}),
    "record what JSON can't carry": lambda: Record(object()),
}


@job
async def ends(then: str) -> Any:
    return OUTCOMES[then]()


@job
async def ends_by_raising(then: str) -> Any:
    raise OUTCOMES[then]()


@job(max_attempts=3, backoff=30)
async def breaks(secret: str = "") -> None:
    calls.append("broke")
    raise Broken("always")


@job(timeout=0.05)
async def hangs() -> None:
    await asyncio.Event().wait()


@job(timeout=0.05)
def hangs_plain(job: Job) -> str:
    while not (job.cancelled() and cancelled()):
        time.sleep(0.001)
    return "too late"


@job
async def count_down(session: AsyncSession, left: int) -> None:
    calls.append(left)
    if left:
        session.add(count_down.new(left=left - 1))


@job(queue="plain_sessions")
def count_down_plain(session: Session, left: int) -> None:
    calls.append(left)
    if left:
        session.add(count_down_plain.new(left=left - 1))


@job
async def count_down_and_break(session: AsyncSession, left: int) -> None:
    await enqueue(session, count_down.new(left=left))
    raise Broken("after it enqueued")


@worker(queue="reports")
class Report:
    async def process(self, job: Job) -> Any:
        calls.append((job.args, job.attempt, job.id))
        return job.args


@worker()
class PlainReport:
    def process(self, job: Job) -> Any:
        return job.args
