"""The objects that jobs ask for by type: which, how they are made, and when they are closed."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import re
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextvars import ContextVar
from typing import Annotated, Any, Generic, NewType, Protocol, TypeVar

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from oban_sqla import (
    InvalidArgs,
    InvalidOption,
    Job,
    JobSpec,
    Oban,
    Resource,
    current_job,
    injected,
    job,
)
from tests.runtime.helpers import execute, finished, insert, until

T = TypeVar("T")


class Client:
    def __init__(self, number: int = 0) -> None:
        self.number = number


class Cache(Protocol):
    def get(self, key: str) -> str: ...


class Repo(Generic[T]): ...


class Base(DeclarativeBase): ...


class Order(Base):
    __tablename__ = "orders_of_resources"
    id: Mapped[int] = mapped_column(primary_key=True)


Token = NewType("Token", str)

events: list[Any] = []


@pytest.fixture(autouse=True)
def fresh_events() -> Iterator[None]:
    events.clear()
    yield
    events.clear()


async def make_client() -> AsyncGenerator[Client]:
    task = asyncio.current_task()
    events.append("opened")
    yield Client(7)
    assert asyncio.current_task() is task, "it is closed in the task that opened it"
    events.append("closed")


@contextlib.contextmanager
def plain_client() -> Generator[Client]:
    events.append("opened")
    try:
        yield Client(8)
    except ValueError as error:
        events.append(str(error))
        raise
    finally:
        events.append("closed")


@job(name="resources.fetches", queue="clients")
async def fetches(number: int, client: Client = injected()) -> None:
    events.append((number, client.number))


@job(name="resources.fetches_plainly", queue="clients")
def fetches_plainly(number: int, client: Client = injected()) -> None:
    events.append((number, client.number))


async def test_one_object_is_shared_by_jobs_on_the_loop_and_in_threads_and_closed_at_the_end(
    any_engine: AsyncEngine,
) -> None:
    async with Oban(any_engine, {"clients": 1}, resources={Client: make_client}):
        assert events == ["opened"], "a broken factory is known before the first job"
        ids = await insert(any_engine, fetches.new(1), fetches_plainly.new(2), fetches.new(3))
        await finished(any_engine, ids)
        assert events == ["opened", (1, 7), (2, 7), (3, 7)]
    assert events[-1] == "closed"


async def test_every_kind_of_factory_makes_an_object(engine: AsyncEngine) -> None:
    async def coroutine() -> Client:
        await asyncio.sleep(0)
        return Client(1)

    @contextlib.asynccontextmanager
    async def manager() -> AsyncGenerator[Client]:
        yield Client(2)

    def generator() -> Generator[Client]:
        yield Client(3)

    factories: list[Callable[[], Any]] = [
        coroutine, manager, generator, Client, lambda: Client(4), functools.partial(Client, 5), plain_client,
    ]  # fmt: skip
    for factory in factories:
        async with Oban(engine, {"clients": 1}, resources={Client: factory}):
            await finished(engine, await insert(engine, fetches.new(0)))
    assert [event[1] for event in events if isinstance(event, tuple)] == [1, 2, 3, 0, 4, 5, 8]


async def test_lock_is_used_as_it_is_and_not_entered(engine: AsyncEngine) -> None:
    @job(name="resources.locks", queue="resources")
    async def locks(lock: asyncio.Lock = injected()) -> None:
        assert not lock.locked()
        async with lock:
            events.append("locked")

    async with Oban(engine, {"resources": 1}, resources={asyncio.Lock: asyncio.Lock}):
        await finished(engine, await insert(engine, locks.new(), locks.new()))
    assert events == ["locked", "locked"]


async def test_types_are_compared_by_equality(engine: AsyncEngine) -> None:
    @job(name="resources.many", queue="resources")
    async def many(
        cache: Cache = injected(),
        *,
        ints: Repo[int] = injected(),
        texts: Repo[str] = injected(),
        token: Token = injected(),
        named: Annotated[Client, "named"] = injected(),
        maybe: Client | None = injected(),
    ) -> None:
        events.append((cache, ints, texts, token, named, maybe))

    given = {
        Cache: lambda: "cache", Repo[int]: lambda: "ints", Repo[str]: lambda: "texts", Token: lambda: "token",
        Annotated[Client, "named"]: lambda: "named", Client: lambda: "plain",
    }  # fmt: skip
    async with Oban(engine, {"resources": 1}, resources=given):
        await finished(engine, await insert(engine, many.new()))
    assert events == [("cache", "ints", "texts", "token", "named", "plain")]


number: ContextVar[int] = ContextVar("number")


@contextlib.asynccontextmanager
async def with_context() -> AsyncGenerator[int]:
    token = number.set(5)
    async with asyncio.TaskGroup():
        yield current_job().id
    number.reset(token)  # raises in another context
    events.append("closed")


async def test_object_of_a_job_is_there_before_its_session_and_until_after_its_commit(engine: AsyncEngine) -> None:
    await execute(engine, "CREATE TABLE IF NOT EXISTS resource_effects (id bigint)")

    @contextlib.asynccontextmanager
    async def seen() -> AsyncGenerator[Client]:
        async with engine.connect() as connection:
            yield Client()
            found = await connection.scalar(text("SELECT count(*) FROM resource_effects"))
            events.append(f"closed after {found} committed")

    @job(name="resources.writes", queue="resources")
    async def writes(session: AsyncSession, client: Client = injected(), job_id: int = injected()) -> None:
        events.append(job_id)
        await session.execute(text("INSERT INTO resource_effects VALUES (1)"))

    given = {Client: Resource(seen, scope="job"), int: Resource(with_context, scope="job")}
    try:
        async with Oban(engine, {"resources": 1}, resources=given):
            ids = await insert(engine, writes.new())
            await finished(engine, ids)
            await finished(engine, [*ids, *await insert(engine, writes.new())])
    finally:
        await execute(engine, "DROP TABLE resource_effects")
    assert events == [
        ids[0], "closed", "closed after 1 committed", ids[0] + 1, "closed", "closed after 2 committed",
    ]  # fmt: skip


async def test_object_of_a_job_learns_of_its_error_and_its_own_is_logged(
    engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    @job(name="resources.fails", queue="resources")
    async def fails(client: Client = injected()) -> None:
        raise ValueError("the job's error")

    @contextlib.contextmanager
    def breaks() -> Generator[str]:
        yield "x"
        raise RuntimeError("it can't be closed")

    @job(name="resources.works", queue="resources")
    async def works(session: AsyncSession, one: str = injected()) -> None: ...

    given = {Client: Resource(plain_client, scope="job"), str: Resource(breaks, scope="job")}
    async with Oban(engine, {"resources": 1}, resources=given):
        failing, working = await insert(engine, fails.new(), works.new())
        await until(engine, failing, "retryable")
        await until(engine, working, "completed")
        assert events == ["opened", "the job's error", "closed"]
    [record] = [one for one in caplog.records if "closing what" in one.getMessage()]
    assert record.levelno == logging.ERROR
    assert "breaks has made failed: RuntimeError" in record.getMessage()


async def test_factory_of_a_job_that_fails_is_the_jobs_failure_and_one_of_the_runtime_ends_the_start(
    engine: AsyncEngine,
) -> None:
    def broken() -> Client:
        raise ConnectionError("the other side is away")

    async with Oban(engine, {"clients": 1}, resources={Client: Resource(broken, scope="job")}):
        [failing] = await insert(engine, fetches.new(1))
        assert "the other side is away" in (await until(engine, failing, "retryable")).errors[0]["error"]
    with pytest.raises(ConnectionError, match="the other side is away"):
        await Oban(engine, {"clients": 1}, resources={Client: broken}).start()

    async def empty() -> AsyncGenerator[Client]:
        clients: list[Client] = []
        for client in clients:
            yield client

    with pytest.raises(RuntimeError) as raised:
        await Oban(engine, {"clients": 1}, resources={Client: empty}).start()
    [note] = raised.value.__notes__
    assert re.search(r"while .*empty, a factory of Oban\(resources=…\), made its object", note)


async def test_factory_that_hangs_ends_with_the_timeout_of_the_job(engine: AsyncEngine) -> None:
    async def hangs() -> Client:
        await asyncio.sleep(60)
        return Client()

    @job(name="resources.hurries", queue="resources", timeout=0.05)
    async def hurries(client: Client = injected()) -> None: ...

    async with Oban(engine, {"resources": 1}, resources={Client: Resource(hangs, scope="job")}):
        [failing] = await insert(engine, hurries.new())
        assert "JobTimeout" in (await until(engine, failing, "retryable")).errors[0]["error"]


async def test_start_names_every_worker_that_asks_for_what_nothing_provides(engine: AsyncEngine) -> None:
    @job(name="resources.other", queue="resources")
    async def other(cache: Cache = injected()) -> None: ...

    @job(name="resources.elsewhere", queue="elsewhere")
    async def elsewhere(token: Token = injected()) -> None: ...

    class SpecialClient(Client): ...

    with pytest.raises(InvalidOption) as raised:
        await Oban(engine, {"clients": 1, "resources": 1}, resources={SpecialClient: SpecialClient}).start()
    said = str(raised.value)
    assert "resources.fetches: client asks for tests.runtime.test_resources.Client, which nothing provides" in said
    assert "SpecialClient" in said
    assert "resources.fetches_plainly: client asks" in said
    assert "resources.other: cache asks for" in said
    assert "resources.elsewhere" not in said
    assert "Oban(engine, resources={" in said


class MySession(AsyncSession): ...


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (Order, "a mapped class"),
        (AsyncSession, "sessions come from"),
        (MySession, "sessions come from"),
        (Annotated[Session, 1], "sessions come from"),
        ("client", "expected the type with which workers annotate"),
        (Job, "class of oban_sqla"),
        (JobSpec, "class of oban_sqla"),
        (Oban, "class of oban_sqla"),
    ],
)
def test_what_a_runtime_has_by_itself_and_what_belongs_to_a_session_is_refused(
    engine: AsyncEngine, kind: Any, why: str
) -> None:
    with pytest.raises(InvalidOption, match=why):
        Oban(engine, resources={kind: Client})


def needs_number(number: int) -> Client:
    return Client(number)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({Client: Client()}, "expected a function without parameters that makes the object, got Client"),
        ({Client: needs_number}, "missing a required argument: 'number'"),
        ([Client], "must be a mapping"),
    ],
)
def test_what_makes_no_object_is_refused(engine: AsyncEngine, given: Any, why: str) -> None:
    with pytest.raises(InvalidOption, match=why):
        Oban(engine, resources=given)


def test_unknown_scope_is_refused() -> None:
    with pytest.raises(InvalidOption, match='scope must be "runtime" or "job", got \'request\''):
        Resource(Client, scope="request")  # type: ignore[arg-type]


def test_direct_call_that_leaves_a_resource_out_raises_and_one_that_gives_it_runs() -> None:
    with pytest.raises(InvalidArgs, match=r"'client' is filled in when it runs as a job"):
        fetches_plainly(1)
    fetches_plainly(1, Client(3))
    assert events == [(1, 3)]
    assert fetches.new(1).args == {"number": 1}


async def test_job_that_asks_for_its_runtime_gets_it(engine: AsyncEngine) -> None:
    asked: list[tuple[Oban, int, list[int]]] = []

    @job(name="resources.enqueues", queue="resources")
    async def enqueues(oban: Oban, current: Job, count: int) -> None:
        specs = await oban.enqueue([fetches.new(n) for n in range(count)])
        asked.append((oban, current.id, [spec.id or 0 for spec in specs]))

    async with Oban(engine, {"clients": 1, "resources": 1}, resources={Client: make_client}) as oban:
        [parent] = await insert(engine, enqueues.new(2))
        await finished(engine, [parent])
        given, parent_id, ids = asked[0]
        assert given is oban
        assert parent_id == parent
        await finished(engine, ids)


async def test_object_that_another_queues_job_needs_is_made_when_the_job_comes(engine: AsyncEngine) -> None:
    async with Oban(engine, {"late": 1}, resources={Client: make_client}):
        assert events == []
        await finished(engine, await insert(engine, fetches.options(queue="late").new(1)))
        assert events == ["opened", (1, 7)]
    assert events[-1] == "closed"
