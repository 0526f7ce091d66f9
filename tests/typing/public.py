"""What type checkers know of the public face. Read by pyright and mypy in strict mode, never run.

A line that has to be an error carries a "type: ignore", and both report one that is not needed.
"""
# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypedDict, assert_type

from sqlalchemy import ColumnElement, ForeignKey, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, selectinload

from oban_sqla import (
    Backoff,
    Chunk,
    Hook,
    Job,
    JobSpec,
    JobState,
    Oban,
    Resource,
    Result,
    Unique,
    current_job,
    enqueue,
    injected,
    job,
    job_relationship,
    later,
)


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


assert_type(bare.new(1), JobSpec[bool])
assert_type(bare.new(user_id=1, greeting="Hi"), JobSpec[bool])
assert_type(configured.new(1, tags=["a"]), JobSpec[None])
assert_type(plain.new(1), JobSpec[int])
assert_type(plain(1), int)
assert_type(bare.worker_name, str)

bare.new()  # type: ignore[call-arg]
bare.new("one")  # type: ignore[arg-type]
bare.new(1, greting="Hi")  # type: ignore[call-arg]
configured.new(1, ["a"])  # type: ignore[call-arg]
plain("one")  # type: ignore[arg-type]


# Instances of mapped classes are arguments like others, and the loader options of a parameter don't change its type.


class Base(DeclarativeBase): ...


class Line(Base):
    __tablename__ = "lines"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"))


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    lines: Mapped[list[Line]] = relationship()
    jobs: Mapped[list[Job]] = job_relationship("args.order")
    last: Mapped[Job | None] = job_relationship("args.order")


class OrderSession(AsyncSession): ...


class Client: ...


@job(missing="discard")
async def invoice(
    order: Annotated[Order, selectinload(Order.lines)], session: OrderSession = injected(), client: Client = injected()
) -> int:
    assert_type(order, Order)
    return order.id


@job
def pack(orders: list[Order], gift: Order | None = None) -> None: ...


order = Order()
assert_type(invoice.new(order), JobSpec[int])
assert_type(invoice.options(queue="a").new(order), JobSpec[int])
assert_type(pack.new([order], gift=order), JobSpec[None])
assert_type(invoice.new(later(lambda: order)), JobSpec[int])
invoice.new(7)  # type: ignore[arg-type]
invoice.new(Line())  # type: ignore[arg-type]
pack.new(order)  # type: ignore[arg-type]
job(missing="skip")(pack)  # type: ignore[call-overload]


# The result of a job has the type that its function declares.


class Profile(TypedDict):
    homepage: str
    age: int


@job
async def load_user(id: int) -> Profile:
    return {"homepage": "x", "age": id}


@job
async def fetch(url: str) -> list[str]:
    return [url]


@job
async def parse(page: str, lang: str = "en") -> int:
    return len(page + lang)


@job
def store(session: Session, counts: list[int]) -> None: ...


assert_type(load_user.new(1), JobSpec[Profile])
assert_type(fetch.new(url="x"), JobSpec[list[str]])
assert_type(store.new([1]), JobSpec[None])
store.new(["a"])  # type: ignore[list-item]


def mine(spec: JobSpec) -> JobSpec:
    return spec


untyped: list[JobSpec] = [parse.new("a"), load_user.new(1)]
mine(parse.new("a"))


# What the runtime fills in is not a parameter of `new`, and still one of the call.


class TenantSession(AsyncSession): ...


@job
async def charge(session: AsyncSession, order_id: int) -> str:
    return f"{session}{order_id}"


@job(queue="orders")
def charge_plainly(session: Session, order_id: int) -> None: ...


@job
async def inspect(current: Job, depth: int = 1) -> None: ...


@job
async def both(session: AsyncSession, current: Job, order_id: int) -> str:
    return f"{session}{current}{order_id}"


@job(queue="orders")
def both_plainly(current: Job, session: Session, order_id: int = 1) -> int:
    return order_id


@job
async def of_tenant(session: TenantSession, order_id: int) -> None: ...


@job
async def marked(order_id: int, session: TenantSession = injected(), current: Job = injected()) -> list[int]:
    return [order_id, current.id]


class Cache: ...


@job
async def resourceful(order_id: int, cache: Cache = injected(), named: Annotated[str, "x"] = injected()) -> int:
    return order_id


@job
async def with_runtime(oban: Oban, current: Job, order_id: int) -> str:
    return str(order_id)


resourceful.new(1, Cache())
assert_type(resourceful.new(1), JobSpec[int])
assert_type(with_runtime.new(1), JobSpec[str])
with_runtime.new("one")  # type: ignore[arg-type]


async def provide(engine: AsyncEngine) -> None:
    Oban(engine, resources={Cache: Cache, Annotated[str, "x"]: lambda: "x", int: Resource(lambda: 1, scope="job")})
    Oban(engine, resources={Cache: Cache()})  # type: ignore[dict-item]


@job(queue="x")
def only(session: Session) -> int:
    return 1


@job
def only_by_name(session: Session, *, order_id: int) -> None: ...


async def call(session: AsyncSession, tenant: TenantSession, plain_session: Session, current: Job) -> None:
    assert_type(charge.new(order_id=1), JobSpec[str])
    assert_type(charge_plainly.new(1), JobSpec[None])
    assert_type(inspect.new(), JobSpec[None])
    assert_type(both.new(1), JobSpec[str])
    assert_type(both.options(queue="a").new(order_id=1), JobSpec[str])
    assert_type(both_plainly.new(), JobSpec[int])
    assert_type(of_tenant.new(1), JobSpec[None])
    assert_type(marked.new(1), JobSpec[list[int]])
    assert_type(only.new(), JobSpec[int])
    assert_type(only_by_name.new(order_id=1), JobSpec[None])
    assert_type(await bare(1), bool)
    assert_type(await charge(session, 1), str)
    assert_type(await both(session, current, 1), str)
    assert_type(both_plainly(current, plain_session), int)
    assert_type(await marked(1, tenant, current), list[int])
    charge_plainly(plain_session, order_id=1)
    charge.new(session, 1)  # type: ignore[call-arg, arg-type]
    both.new(current, 1)  # type: ignore[call-arg, arg-type]
    await charge(1)  # type: ignore[call-arg, arg-type]
    await of_tenant(session, 1)  # type: ignore[arg-type]


# Results.


async def wait_for(oban: Oban, current: Job) -> None:
    assert_type(await oban.result(bare.new(1)), bool)
    assert_type(await oban.result(load_user.new(1)), Profile)
    assert_type(await oban.result(invoice.new(order)), int)
    assert_type(await oban.result(configured.new(1)), None)
    assert_type(await oban.result(7), Any)
    assert_type(await oban.result(current), Any)
    assert_type(await oban.result(JobSpec("x")), Any)
    async for target, done in oban.results([plain.new(1)], timeout=3):
        assert_type(target, JobSpec[int])
        assert_type(done, Result[int])
        assert_type(done.value, int)
    async for number, of_number in oban.results([1, 2]):
        assert_type(number, int)
        assert_type(of_number.value, Any)
    await oban.result("7")  # type: ignore[call-overload]


# A parameter without a type is not taken for an injected one.


@job
def anything(value: Any, more: Any = None) -> int:
    return 1


@job
async def anything_after(session: AsyncSession, value: object, more: int = 1) -> None: ...


anything.new(1, more=2)
anything.new(value=1)
anything_after.new(1, more=2)
anything_after.new(value=1)


# A spec knows what its function returns; without type arguments it is as it always was.


def passed_on(spec: JobSpec) -> JobSpec:
    return spec


specs: list[JobSpec] = [bare.new(1), plain.new(2), passed_on(configured.new(3))]


# Options of the next jobs.


@job(chunk=Chunk(size=10), queue="mail")
async def deliver(jobs: list[Job], session: AsyncSession) -> Mapping[Job, object] | None: ...


assert_type(deliver.new({"n": 1}, priority=2, schedule_in=5), JobSpec)
assert_type(deliver.options(queue="slow").new({"n": 1}), JobSpec)
deliver.new(n=1)  # type: ignore[call-arg]
deliver.new({"n": 1}, priority="high")  # type: ignore[arg-type]

assert_type(bare.options(queue="slow", schedule_in=timedelta(minutes=5)).new(1, "Hi"), JobSpec[bool])
assert_type(charge.options(priority=1, scheduled_at=datetime.now(UTC)).new(order_id=1), JobSpec[str])
bare.options(queue="slow").new("one")  # type: ignore[arg-type]
bare.options(quue="slow")  # type: ignore[call-arg]
bare.options(priority="high")  # type: ignore[arg-type]
job(quue="slow")  # type: ignore[call-overload]


# `later` has the type of what it will give.

assert_type(later(lambda: user.id), int)
assert_type(bare.new(user_id=later(lambda: user.id)), JobSpec[bool])
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
