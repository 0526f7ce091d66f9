"""Who is told that jobs were committed (R3), with and without a runtime in the process."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Literal

import asyncpg
import pytest
from sqlalchemy import Pool, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from oban_sqla import Encryption, JobSpec, Oban, Unique, enqueue, job, migrations
from oban_sqla.enqueueing import parameters, wakeup
from oban_sqla.runtime import announcer
from oban_sqla.statements import wire
from oban_sqla.statements.identify import Identity, identify
from tests.enqueueing.conftest import recorded
from tests.support import eventually


class FakeRuntime:
    """What a started Oban is to the sessions of its process."""

    def __init__(self, engine: AsyncEngine, notify: Literal["auto", "transaction", "off"] = "auto") -> None:
        self.pool: Pool = engine.sync_engine.pool
        self.notify: Literal["auto", "transaction", "off"] = notify
        self.schema: str | None = None
        self.identity: Identity = ("", "")
        self.told: list[Any] = []
        self.can_be_woken = True
        self.encryption: Encryption | None = None

    def inserted(self, queues: Iterable[str]) -> None:
        self.told.append(sorted(queues))

    def soon(self) -> None:
        self.told.append("soon")

    def news(self) -> None:
        self.told.append("news")


@pytest.fixture
def serve() -> Iterator[Any]:
    runtimes: list[FakeRuntime] = []

    def start(runtime: FakeRuntime) -> FakeRuntime:
        runtimes.append(runtime)
        wakeup.serve(runtime)
        return runtime

    yield start
    for runtime in runtimes:
        wakeup.unserve(runtime)


@asynccontextmanager
async def listening(engine: AsyncEngine, *channels: str) -> AsyncGenerator[Any]:
    """Gives a function that returns what was notified so far, as (channel, queue), sorted."""
    heard: list[tuple[str, str]] = []
    connection = await asyncpg.connect(engine.url.set(drivername="postgresql").render_as_string(hide_password=False))

    def hear(_connection: object, _pid: int, channel: str, payload: object) -> None:
        payload = str(payload)
        heard.append((channel, json.loads(payload)["queue"] if payload.startswith("{") else payload))

    for channel in ("test_end", *channels):
        await connection.add_listener(channel, hear)

    async def so_far() -> list[tuple[str, str]]:
        # Notifications come in the order of the commits: after this one, all earlier ones are here.
        async with engine.begin() as other:
            await other.execute(text("NOTIFY test_end"))
        while ("test_end", "") not in heard:
            await connection.execute("SELECT 1")
        heard.remove(("test_end", ""))
        result, heard[:] = sorted(heard), []
        return result

    try:
        yield so_far
    finally:
        await connection.close()


async def test_transaction_notifies_each_queue_once_at_its_commit(any_engine: AsyncEngine) -> None:
    async with (
        listening(any_engine, "public.oban_insert", "public.oban_stage") as heard,
        AsyncSession(any_engine) as session,
    ):
        session.add_all([JobSpec("w", queue=queue) for queue in ("b", "a", "b", "a")])
        await session.flush()
        assert await heard() == []
        await session.commit()
        assert await heard() == [("public.oban_insert", "a"), ("public.oban_insert", "b")]


async def test_rollback_sends_no_notification(engine: AsyncEngine) -> None:
    async with listening(engine, "public.oban_insert") as heard, AsyncSession(engine) as session:
        session.add(JobSpec("w"))
        await session.flush()
        await session.rollback()
        session.add(JobSpec("w", queue="kept"))
        async with session.begin_nested() as savepoint:
            session.add(JobSpec("w", queue="lost"))
            await session.flush()
            await savepoint.rollback()
        await session.commit()
        assert await heard() == [("public.oban_insert", "kept")]


async def test_scheduled_jobs_are_announced_only_when_due_soon(engine: AsyncEngine) -> None:
    now = datetime.now(UTC)
    async with listening(engine, "public.oban_insert", "public.oban_stage") as heard, AsyncSession(engine) as session:
        session.add_all([JobSpec("w", schedule_in=60), JobSpec("w", scheduled_at=now + timedelta(minutes=1))])
        await session.commit()
        assert await heard() == []
        session.add(JobSpec("w", queue="a", schedule_in=3))
        session.add(JobSpec("w", queue="b", scheduled_at=now + timedelta(seconds=4)))
        session.add(JobSpec("w", queue="c", scheduled_at=now - timedelta(seconds=4)))
        await session.commit()
        assert await heard() == [("public.oban_insert", "c"), ("public.oban_stage", "a"), ("public.oban_stage", "b")]


async def test_duplicate_sends_no_notification(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        await enqueue(session, JobSpec("w", unique=Unique()))
        await session.commit()
        async with listening(engine, "public.oban_insert") as heard:
            await enqueue(session, JobSpec("w", unique=Unique()))
            await session.commit()
            assert await heard() == []


@pytest.mark.parametrize("schema", ["elsewhere", "s" * 63], ids=["short", "longest"])
async def test_channels_are_apart_for_each_schema(engine: AsyncEngine, schema: str) -> None:
    await migrations.migrate(engine, schema=schema)
    try:
        other = engine.execution_options(schema_translate_map={None: schema})
        theirs = wire.channel(wire.INSERTED, schema)
        async with (
            listening(engine, "public.oban_insert", theirs, wire.channel(wire.INSERTED, f"{schema[:-1]}t")) as heard,
            AsyncSession(other) as session,
        ):
            session.add(JobSpec("w"))
            await session.commit()
            assert await heard() == [(theirs, "default")]
    finally:
        async with engine.begin() as connection:
            await connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (None, "public.oban_insert"),
        ("jobs", "jobs.oban_insert"),
        ("s" * 51, f"{'s' * 51}.oban_insert"),
        ("s" * 52, "3838b961124f6c3b2297e3e04821173b.oban_insert"),
        ("ä" * 26, "556842e95bd4a0d3726db1a5ca585db2.oban_insert"),
    ],
)
def test_a_schema_that_is_too_long_for_a_channel_is_named_by_its_digest(schema: str | None, expected: str) -> None:
    assert wire.channel(wire.INSERTED, schema) == expected


async def test_commit_wakes_the_runtime_of_the_process_and_does_not_notify(engine: AsyncEngine, serve: Any) -> None:
    runtime = serve(FakeRuntime(engine))
    async with listening(engine, "public.oban_insert", "public.oban_stage") as heard, AsyncSession(engine) as session:
        session.add(JobSpec("w", queue="a"))
        await session.flush()
        session.add_all([JobSpec("w", queue="b"), JobSpec("w", schedule_in=2), JobSpec("w", schedule_in=60)])
        await session.flush()
        assert runtime.told == []
        await session.commit()
        assert runtime.told == [["a", "b"], "soon"]
        assert await heard() == []
        await session.commit()
        assert runtime.told == [["a", "b"], "soon"]


@pytest.mark.parametrize("end", ["rollback", "close"])
async def test_transaction_without_commit_wakes_no_node(engine: AsyncEngine, serve: Any, end: str) -> None:
    runtime = serve(FakeRuntime(engine))
    async with AsyncSession(engine) as session:
        session.add(JobSpec("w", queue="lost"))
        await session.flush()
        await getattr(session, end)()
        session.add(JobSpec("w", queue="kept"))
        await session.commit()
    assert runtime.told == [["kept"]]


async def test_savepoint_wakes_no_node_before_the_outer_commit(engine: AsyncEngine, serve: Any) -> None:
    runtime = serve(FakeRuntime(engine))
    async with AsyncSession(engine) as session:
        async with session.begin_nested():
            session.add(JobSpec("w"))
        assert runtime.told == []
        await session.commit()
    assert runtime.told == [["default"]]


async def test_session_joined_to_a_transaction_notifies_inside_it(engine: AsyncEngine, serve: Any) -> None:
    runtime = serve(FakeRuntime(engine))
    async with listening(engine, "public.oban_insert") as heard:
        for commits in (False, True):
            async with engine.connect() as connection:
                outer = await connection.begin()
                async with AsyncSession(connection) as session:
                    session.add(JobSpec("w"))
                    await session.commit()
                assert await heard() == []
                await (outer.commit() if commits else outer.rollback())
        assert await heard() == [("public.oban_insert", "default")]
    assert runtime.told == []


@pytest.mark.parametrize(("notify", "expected"), [("transaction", [("public.oban_insert", "default")]), ("off", [])])
async def test_other_modes_do_as_they_say(engine: AsyncEngine, serve: Any, notify: Any, expected: Any) -> None:
    runtime = serve(FakeRuntime(engine, notify))
    async with listening(engine, "public.oban_insert") as heard, AsyncSession(engine) as session:
        session.add(JobSpec("w"))
        await session.commit()
        assert await heard() == expected
    assert runtime.told == []


async def identity(engine: AsyncEngine) -> Identity:
    async with engine.connect() as connection:
        row = await connection.run_sync(lambda connection: identify.execute(connection).one())
    return (row.server, row.database)


async def test_runtime_is_found_from_another_engine_on_the_same_database(
    any_engine: AsyncEngine, engine: AsyncEngine, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a machine that was started just now.
    monkeypatch.setattr(wakeup, "time", SimpleNamespace(monotonic=lambda: 5.0, time=time.time))
    runtime = FakeRuntime(engine)
    runtime.identity = await identity(engine)
    serve(runtime)
    abroad = {"server_settings": {"timezone": "Asia/Tokyo"}} if "asyncpg" in any_engine.url.drivername else {}
    other = create_async_engine(any_engine.url, connect_args=abroad)
    statements: list[str] = []
    try:
        for _ in range(2):
            async with AsyncSession(other) as session:

                def enqueue_one(session: Session) -> list[str]:
                    with recorded(session) as statements:
                        session.add(JobSpec("w"))
                        session.commit()
                    return statements

                statements = await session.run_sync(enqueue_one)
    finally:
        await other.dispose()
    assert runtime.told == [["default"], ["default"]]
    assert len(statements) == 1  # which database that is, was asked once


async def test_runtime_of_another_database_is_not_called(engine: AsyncEngine, empty_database: str, serve: Any) -> None:
    elsewhere = create_async_engine(empty_database)
    try:
        runtime = FakeRuntime(elsewhere)
        runtime.identity = await identity(elsewhere)
        serve(runtime)
        async with listening(engine, "public.oban_insert") as heard, AsyncSession(engine) as session:
            session.add(JobSpec("w"))
            await session.commit()
            assert await heard() == [("public.oban_insert", "default")]
        assert runtime.told == []
    finally:
        await elsewhere.dispose()


async def test_runtime_of_another_schema_is_not_called(engine: AsyncEngine, serve: Any) -> None:
    named = FakeRuntime(engine)
    named.schema = "elsewhere"
    found_elsewhere = FakeRuntime(create_async_engine(engine.url))
    async with engine.connect() as connection:
        await connection.execute(text("SET search_path = pg_temp"))
        row = await connection.run_sync(lambda connection: identify.execute(connection).one())
        found_elsewhere.identity = (row.server, row.database)
        await connection.invalidate()
    serve(named)
    serve(found_elsewhere)
    async with listening(engine, "public.oban_insert") as heard, AsyncSession(engine) as session:
        session.add(JobSpec("w"))
        await session.commit()
        assert await heard() == [("public.oban_insert", "default")]
    assert named.told == found_elsewhere.told == []


@pytest.mark.parametrize("end", ["stop", "closed loop"])
async def test_commit_notifies_when_the_runtime_has_stopped_since_the_flush(
    engine: AsyncEngine, serve: Any, end: str
) -> None:
    runtime = serve(FakeRuntime(engine))
    channels = ("public.oban_insert", "public.oban_stage")
    async with listening(engine, *channels) as heard, AsyncSession(engine) as session:
        session.add(JobSpec("w"))
        session.add(JobSpec("w", queue="later", schedule_in=1))
        await session.flush()
        if end == "stop":
            wakeup.unserve(runtime)
        else:
            runtime.can_be_woken = False
        async with session.begin_nested():
            session.add(JobSpec("w", queue="inner"))
        assert await heard() == []
        await session.commit()
        assert sorted(queue for _, queue in await heard()) == ["default", "inner", "later"]
    assert runtime.told == []


async def test_commit_of_what_a_generator_gave_before_it_failed_wakes_its_queue(
    engine: AsyncEngine, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parameters, "CHUNK", 2)
    runtime = serve(FakeRuntime(engine))

    def specs() -> Iterator[JobSpec]:
        yield from (JobSpec("w", queue="given") for _ in range(2))
        raise LookupError("no more")

    async with AsyncSession(engine) as session:
        with pytest.raises(LookupError):
            await enqueue(session, specs())
        await session.commit()
    assert runtime.told == [["given"]]


async def test_jobs_in_autocommit_are_heard_of_without_a_commit(any_engine: AsyncEngine, serve: Any) -> None:
    runtime = serve(FakeRuntime(any_engine))
    engine = any_engine.execution_options(isolation_level="AUTOCOMMIT")
    async with listening(any_engine, "public.oban_insert") as heard:
        async with AsyncSession(engine) as session:
            session.add(JobSpec("w"))
            await session.flush()
        assert await heard() == [("public.oban_insert", "default")]
    assert runtime.told == []


async def test_other_nodes_hear_of_jobs_that_this_node_has_room_for_a_little_later(
    any_engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcer, "HEAD_START", 3_600.0)
    begun, go_on = asyncio.Event(), asyncio.Event()

    @job(queue="narrow")
    async def fills_its_queue() -> None:
        begun.set()
        await go_on.wait()

    async def commit() -> None:
        async with AsyncSession(any_engine) as session:
            session.add(fills_its_queue.new())
            await session.commit()

    async with listening(any_engine, "public.oban_insert") as heard, Oban(any_engine, queues={"narrow": 1}):
        await commit()
        await asyncio.wait_for(begun.wait(), 10)
        assert await heard() == []
        await commit()  # there is no room for it here
        assert await eventually(heard) == [("public.oban_insert", "narrow")]
        go_on.set()


async def test_the_head_start_ends(any_engine: AsyncEngine) -> None:
    @job(queue="wide")
    async def quick() -> None: ...

    async with listening(any_engine, "public.oban_insert") as heard, Oban(any_engine, queues={"wide": 5}):
        async with AsyncSession(any_engine) as session:
            session.add(quick.new())
            await session.commit()
        assert await eventually(heard) == [("public.oban_insert", "wide")]
