"""What type checkers know of the public face. Read by pyright and mypy in strict mode, never run.

A line that has to be an error carries a "type: ignore", and both report one that is not needed.
"""
# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from oban_sqla import Backoff, Hook, Job, JobSpec, JobState, Unique, current_job, enqueue, job, later


class User:
    id: int
    name: str


user = User()


# Functions: `new` takes their parameters, a call still returns what they return.


@job
async def bare(user_id: int, greeting: str = "Hello") -> bool:
    return user_id > 0 and greeting != ""


@job(queue="mail", max_attempts=5, unique=Unique(period=60), backoff=Backoff("linear"), timeout=timedelta(minutes=1))
async def configured(user_id: int, *, tags: list[str] | None = None) -> None: ...


@job()
def plain(number: int) -> int:
    return number * 2


assert_type(bare.new(1), JobSpec)
assert_type(bare.new(user_id=1, greeting="Hi"), JobSpec)
assert_type(configured.new(1, tags=["a"]), JobSpec)
assert_type(plain.new(1), JobSpec)
assert_type(plain(1), int)
assert_type(bare.worker_name, str)

bare.new()  # type: ignore[call-arg]
bare.new("one")  # type: ignore[arg-type]
bare.new(1, greting="Hi")  # type: ignore[call-arg]
configured.new(1, ["a"])  # type: ignore[call-arg]
plain("one")  # type: ignore[arg-type]


# What the runtime fills in is no parameter of `new`, and still one of the call.


@job
async def charge(session: AsyncSession, order_id: int) -> str:
    return f"{session}{order_id}"


@job(queue="orders")
def charge_plainly(session: Session, order_id: int) -> None: ...


@job
async def inspect(current: Job, depth: int = 1) -> None: ...


async def call(session: AsyncSession, plain_session: Session) -> None:
    assert_type(charge.new(order_id=1), JobSpec)
    assert_type(charge_plainly.new(1), JobSpec)
    assert_type(inspect.new(), JobSpec)
    assert_type(await bare(1), bool)
    assert_type(await charge(session, 1), str)
    charge_plainly(plain_session, order_id=1)
    charge.new(session, 1)  # type: ignore[call-arg, arg-type]
    await charge(1)  # type: ignore[call-arg, arg-type]


# Options of the next jobs.

assert_type(bare.options(queue="slow", schedule_in=timedelta(minutes=5)).new(1, "Hi"), JobSpec)
assert_type(charge.options(priority=1, scheduled_at=datetime.now(UTC)).new(order_id=1), JobSpec)
bare.options(queue="slow").new("one")  # type: ignore[arg-type]
bare.options(quue="slow")  # type: ignore[call-arg]
bare.options(priority="high")  # type: ignore[arg-type]
job(quue="slow")  # type: ignore[call-overload]


# `later` has the type of what it will give.

assert_type(later(lambda: user.id), int)
assert_type(bare.new(user_id=later(lambda: user.id)), JobSpec)
bare.new(user_id=later(lambda: user.name))  # type: ignore[arg-type]


# Specs.

spec = JobSpec(bare, {"user_id": 1}, queue="x", tags=("a",), meta={"a": 1}, unique=Unique(fields=["worker", "args"]))
assert_type(JobSpec("app.mail.send", {"id": 1}), JobSpec)
assert_type(spec.id, int | None)
assert_type(spec.state, JobState | str | None)
assert_type(spec.conflict, bool)
JobSpec(bare, prioriy=1)  # type: ignore[call-arg]
JobSpec(7)  # type: ignore[arg-type]


# `enqueue` is awaited with an AsyncSession, and not with a Session.


async def enqueue_async(session: AsyncSession) -> None:
    assert_type(await enqueue(session, spec), list[JobSpec])
    assert_type(await enqueue(session, [spec, spec], spec), list[JobSpec])
    assert_type(await enqueue(session, (bare.new(number) for number in range(3))), list[JobSpec])
    await enqueue(session, "app.mail.send")  # type: ignore[arg-type]


def enqueue_plainly(session: Session) -> None:
    assert_type(enqueue(session, spec), list[JobSpec])
    assert_type(enqueue(session, [spec]), list[JobSpec])


# Jobs, one and many.


def read(session: Session, one: Job) -> None:
    assert_type(one.id, int)
    assert_type(one.state, JobState)
    assert_type(one.args, dict[str, Any])
    assert_type(one.scheduled_at, datetime)
    assert_type(one.completed_at, datetime | None)
    assert_type(one.is_finished, bool)
    assert_type(one.duration, timedelta | None)
    assert_type(one.age, timedelta)
    assert_type(Job.completed_at.utc(), ColumnElement[datetime])
    assert_type(Job.completed_at > datetime.now(UTC), ColumnElement[bool])
    found = session.scalars(select(Job).where(Job.worker == bare, Job.state == "completed", Job.is_finished)).all()
    assert_type(list(found), list[Job])
    assert_type(session.execute(select(Job.id, Job.scheduled_at)).one()[1], datetime)


assert_type(current_job(), Job)


# Hooks: a method may be a coroutine function or a plain one, and has the parameters of the base.


class Audit(Hook):
    async def before(self, job: Job) -> None: ...

    def after(self, job: Job, state: str, error: BaseException | None) -> None: ...


class Misspelt(Hook):
    def before(self, job: Job, state: str) -> None: ...  # type: ignore[override]
