"""Starting: what is checked, and what is said when it does not hold."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, create_engine, event, make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from oban_sqla import (
    DatabaseUnavailable,
    Heartbeat,
    InvalidOption,
    Oban,
    ObanError,
    Prioritize,
    Processes,
    Prune,
    Queue,
    SchemaOutdated,
    UnsupportedDatabase,
    embedded,
    migrations,
)
from oban_sqla.control.lifecycle import Lifecycle
from oban_sqla.runtime.node import Node
from tests.database import SETTINGS
from tests.processes import finished
from tests.runtime.helpers import execute
from tests.support import eventually


async def test_a_missing_schema_is_said_and_nothing_is_created(empty_database: str) -> None:
    engine = create_async_engine(empty_database)
    try:
        with pytest.raises(SchemaOutdated, match="no oban_sqla tables found.*oban-sqla migrate"):
            await Oban(engine, queues={"default": 1}).start()
        async with engine.connect() as connection:
            tables = await connection.execute(text("SELECT tablename FROM pg_tables WHERE tablename LIKE 'oban%'"))
            assert tables.all() == []
    finally:
        await engine.dispose()


async def test_tables_in_another_schema_than_asked_are_named(empty_database: str) -> None:
    engine = create_async_engine(empty_database)
    try:
        await migrations.migrate(engine, schema="jobs")
        said = r"no oban_sqla tables found in the search path; the schema 'jobs' has them; call .*use_schema"
        with pytest.raises(SchemaOutdated, match=said):
            await Oban(engine, queues={"default": 1}).start()
        await migrations.migrate(engine, schema="work")
        with pytest.raises(SchemaOutdated, match="the schemas 'jobs', 'work' have them"):
            await Oban(engine, queues={"default": 1}).start()
    finally:
        await engine.dispose()


IN_THE_SCHEMA = """
import asyncio, sys
from sqlalchemy.ext.asyncio import create_async_engine
from oban_sqla import Oban, SchemaOutdated, use_schema

use_schema("public")
try:
    asyncio.run(Oban(create_async_engine(sys.argv[1]), queues={"default": 1}).start())
except SchemaOutdated as refusal:
    print(refusal)
"""


async def test_a_schema_is_named_whose_tables_were_created_without_its_name(migrated_database: str) -> None:
    engine = create_async_engine(migrated_database)
    try:
        async with engine.begin() as connection:
            await connection.execute(text(f"ALTER DATABASE \"{engine.url.database}\" SET search_path = ''"))
    finally:
        await engine.dispose()
    done = await asyncio.to_thread(finished, ["-c", IN_THE_SCHEMA, migrated_database])
    assert "the tables in the schema 'public' don't fit (relation \"oban_" in done.stdout, done.stderr
    assert "have the schema in the search path (ALTER ROLE" in done.stdout


async def test_a_schema_that_is_too_old_is_said(migrated_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = create_async_engine(migrated_database)
    try:
        monkeypatch.setattr("oban_sqla.control.lifecycle.CURRENT", migrations.CURRENT + 1)
        with pytest.raises(
            SchemaOutdated, match=f"have version {migrations.CURRENT}, and version {migrations.CURRENT + 1} is needed"
        ):
            await Oban(engine, queues={"default": 1}).start()
        assert await migrations.version(engine) == migrations.CURRENT
    finally:
        await engine.dispose()


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_database_that_does_not_answer_is_said_without_the_password(driver: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        engine = create_async_engine(f"postgresql+{driver}://user:secret@127.0.0.1:{port}/app")
        with pytest.raises(DatabaseUnavailable) as raised:
            await Oban(engine, start_timeout=0.3).start()
    assert f"127.0.0.1:{port}" in str(raised.value)
    assert "0.3 s" in str(raised.value)
    assert "secret" not in str(raised.value)
    await engine.dispose()


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_database_that_refuses_the_connection_is_said_at_once_in_its_words(
    engine: AsyncEngine, driver: str
) -> None:
    url = engine.url.set(drivername=f"postgresql+{driver}")
    for wrong in (url.set(database="no_such_database"), url.set(username="no_such_role", password="hunter2")):
        refused = create_async_engine(wrong)
        try:
            # Had it waited for another answer, this would be a TimeoutError.
            with pytest.raises(DatabaseUnavailable, match="the database says: .*no_such_") as raised:
                await asyncio.wait_for(Oban(refused, start_timeout=600).start(), 60)
        finally:
            await refused.dispose()
        assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_wrong_password_is_said_at_once_and_not_shown(server_with_passwords: URL, driver: str) -> None:
    url = server_with_passwords.set(drivername=f"postgresql+{driver}", username="app")
    refused, welcome = (create_async_engine(url.set(password=password)) for password in ("hunter2", "right"))
    try:
        with pytest.raises(DatabaseUnavailable, match="the database says: password authentication failed") as raised:
            await asyncio.wait_for(Oban(refused, start_timeout=600).start(), 60)
        assert "hunter2" not in str(raised.value)
        with pytest.raises(SchemaOutdated):  # it got in
            await Oban(welcome).start()
    finally:
        await refused.dispose()
        await welcome.dispose()


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_role_with_too_few_connections_learns_how_many_a_node_has(engine: AsyncEngine, driver: str) -> None:
    role = f"few_connections_{driver}"
    await execute(engine, f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 1")
    few = create_async_engine(engine.url.set(drivername=f"postgresql+{driver}", username=role))
    try:
        with pytest.raises(DatabaseUnavailable, match=f'for role "{role}"; a node holds four connections'):
            await Oban(few, start_timeout=600).start()
    finally:
        await few.dispose()
        await execute(engine, f"DROP ROLE {role}")


@pytest.mark.parametrize(("sqlstate", "said"), [("53100", "no room"), ("57014", "it takes too long")])
async def test_what_the_server_refuses_at_a_start_is_an_error_of_the_package(
    engine: AsyncEngine, sqlstate: str, said: str
) -> None:
    refuses = f"BEGIN RAISE EXCEPTION '{said}' USING ERRCODE = '{sqlstate}'; END"
    await execute(engine, f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ {refuses} $$")
    await execute(engine, "CREATE TRIGGER refuses BEFORE INSERT ON oban_producers EXECUTE FUNCTION refuse()")
    try:
        with pytest.raises(DatabaseUnavailable, match=f"can't start on postgresql.*: the database says: .*{said}"):
            await Oban(engine, {"a": 1}).start()
    finally:
        await execute(engine, "DROP FUNCTION refuse CASCADE")
    async with Oban(engine, {"a": 1}):
        pass


async def test_a_table_of_another_program_before_ours_is_said(engine: AsyncEngine) -> None:
    await execute(engine, "CREATE SCHEMA other")
    await execute(engine, "CREATE TABLE other.oban_jobs (number int)")
    path = {"server_settings": {"search_path": "other, public"}}
    hidden = create_async_engine(engine.url, connect_args=path)
    try:
        with pytest.raises(SchemaOutdated, match=r"don't fit \(.*oban_jobs.*another schema.*use_schema"):
            await Oban(hidden, queues={"default": 1}).start()
    finally:
        await execute(engine, "DROP SCHEMA other CASCADE")
        await hidden.dispose()


@pytest.mark.parametrize("sqlstate", ["28P01", "57P03"])
@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_what_a_server_says_in_another_language_is_understood(driver: str, sqlstate: str) -> None:
    """No binaries that tests can count on have translations, so a few bytes of the protocol play the server."""
    fields = {"S": "ВАЖНО", "V": "FATAL", "C": sqlstate, "M": "так не пойдёт"}
    body = b"".join(f"{key}{value}\0".encode() for key, value in fields.items()) + b"\0"

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def message() -> bytes:
            return await reader.readexactly(int.from_bytes(await reader.readexactly(4)) - 4)

        if await message() == (80877103).to_bytes(4):  # whether there is TLS
            writer.write(b"N")
            await message()
        if sqlstate == "28P01":
            writer.write(b"R" + (8).to_bytes(4) + (3).to_bytes(4))  # the password, please
            assert await reader.readexactly(1) == b"p"
            await message()
        writer.write(b"E" + (len(body) + 4).to_bytes(4) + body)
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        engine = create_async_engine(f"postgresql+{driver}://app:hunter2@127.0.0.1:{port}/app")
        patience = 600 if sqlstate == "28P01" else 0.3
        with pytest.raises(DatabaseUnavailable) as raised:
            await asyncio.wait_for(Oban(engine, start_timeout=patience).start(), 60)
        await engine.dispose()
    assert str(raised.value).endswith("the database says: так не пойдёт")
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_database_that_takes_no_writes_is_said(engine: AsyncEngine, driver: str) -> None:
    name = engine.url.database
    refusing = create_async_engine(engine.url.set(drivername=f"postgresql+{driver}"))
    await execute(engine, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    try:
        for queues in ({}, {"default": 1}):
            with pytest.raises(DatabaseUnavailable, match="can't be written to .*primary.*_read_only"):
                await Oban(refusing, queues=queues).start()
    finally:
        await execute(engine, f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
        await refusing.dispose()


@pytest.fixture(scope="module")
def server_with_passwords() -> Iterator[URL]:
    """A server that asks the role `app` for its password."""
    with embedded.start(settings=SETTINGS) as server:
        engine = create_engine(make_url(server.url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text("CREATE ROLE app LOGIN PASSWORD 'right'"))
            rules = Path(connection.execute(text("SHOW hba_file")).scalar_one())
            rules.write_text(f"local all app scram-sha-256\nhost all app all scram-sha-256\n{rules.read_text()}")
            connection.execute(text("SELECT pg_reload_conf()"))
        engine.dispose()
        yield make_url(server.url)


async def test_a_start_that_waits_for_the_database_says_so(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oban_sqla.control.lifecycle.SAID_AFTER", 0.0)
    engine = create_async_engine("postgresql+asyncpg://user:secret@127.0.0.1:1/app")
    starting = asyncio.create_task(Oban(engine, start_timeout=600).start())
    await eventually(lambda: [message for message in caplog.messages if message.startswith("no answer yet from ")])
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await engine.dispose()
    [line] = [message for message in caplog.messages if message.startswith("no answer yet from ")]
    assert "127.0.0.1:1/app" in line
    assert "trying for up to 600 s" in line
    assert "secret" not in caplog.text


async def test_it_waits_for_a_database_that_comes_up_late(engine: AsyncEngine) -> None:
    failures = iter([True, True, False, False, False, False, False])

    def refuse_at_first(*_: Any) -> None:
        if next(failures, False):
            raise ConnectionRefusedError("not yet")

    event.listen(engine.sync_engine, "do_connect", refuse_at_first)
    oban = Oban(engine, start_timeout=10)
    await oban.start()
    await oban.stop()
    assert True not in failures, "it was refused twice before"


def test_a_synchronous_engine_is_refused() -> None:
    with pytest.raises(InvalidOption, match="synchronous.*create_async_engine"):
        Oban(create_engine("postgresql+psycopg://localhost/app"))  # type: ignore[arg-type]


def test_another_database_is_refused() -> None:
    engine = create_async_engine("postgresql+asyncpg://localhost/app")
    engine.sync_engine.dialect.name = "mysql"
    with pytest.raises(UnsupportedDatabase, match="mysql"):
        Oban(engine)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"queues": {"default": 0}}, "'default'.*limit of 1 or more.*0"),
        ({"queues": {"default": True}}, "'default'.*True"),
        ({"queues": {" ": 1}}, "name of a queue"),
        ({"queues": {"default": "10"}}, "'default'.*'10'"),
        ({"quues": {"default": 1}}, "'quues'.*did you mean 'queues'"),
        ({"notify": "always"}, "notify.*'always'"),
        ({"poll_interval": 0}, "poll_interval"),
        ({"shutdown_grace": -1}, "shutdown_grace.*-1"),
        ({"sessionmaker": "Session"}, "sessionmaker"),
        ({"heartbeat": 5}, r"Heartbeat\(…\)"),
        ({"node": ""}, "node"),
        ({"node": "n" * 256}, r"Oban\(node\): at most 255 characters"),
        ({"queues": {"a" * 256: 1}}, "queues: at most 255 characters"),
        ({"queues": {"a\0": 1}}, "queues: a NUL"),
        ({"crontab": 5}, "crontab must be a list of Cron"),
        ({"resources": {int: abs}}, "called without arguments, and it needs some"),
        ({"name": " "}, "name"),
    ],
)
def test_bad_options_fail_at_construction(options: dict[str, Any], message: str) -> None:
    engine = create_async_engine("postgresql+asyncpg://localhost/app")
    with pytest.raises(InvalidOption, match=message):
        Oban(engine, **options)


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, 10_001])
def test_a_queue_limit_out_of_range_is_refused(limit: Any) -> None:
    with pytest.raises(InvalidOption, match="1 to 10,000"):
        Queue(limit=limit)


@pytest.mark.parametrize("interval", [0, -1, "5"])
def test_a_heartbeat_interval_out_of_range_is_refused(interval: Any) -> None:
    with pytest.raises(InvalidOption, match="interval"):
        Heartbeat(interval=interval)


async def test_times_may_be_timedeltas(engine: AsyncEngine) -> None:
    second: Any = timedelta(seconds=1)
    names = ("shutdown_grace", "start_timeout", "poll_interval", "leader_ttl", "lifeline_interval")
    times: Any = dict.fromkeys(names, second)
    heartbeat, processes = Heartbeat(second, second * 3, second * 9), Processes(start_timeout=second)
    prune, prioritize = Prune(interval=second), Prioritize(interval=second)
    oban = Oban(engine, heartbeat=heartbeat, processes=processes, prune=prune, prioritize=prioritize, **times)
    async with oban:
        await eventually(lambda: oban.is_leader)
    assert heartbeat == Heartbeat(1, 3, 9)


async def test_starting_twice_is_refused(engine: AsyncEngine) -> None:
    async with Oban(engine) as oban:
        with pytest.raises(ObanError, match="running already"):
            await oban.start()


async def test_it_leaves_the_process_as_it_was(engine: AsyncEngine) -> None:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    root = list(logging.getLogger().handlers)
    policy = asyncio.get_event_loop_policy()  # pyright: ignore[reportDeprecated]
    async with Oban(engine, queues={"default": 1}):
        assert {number: signal.getsignal(number) for number in handlers} == handlers
        assert logging.getLogger().handlers == root
        assert logging.getLogger("oban_sqla").handlers == []
        assert asyncio.get_event_loop_policy() is policy  # pyright: ignore[reportDeprecated]


async def test_a_start_whose_caller_leaves_in_its_last_moment_leaves_no_node_behind(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = asyncio.Event()

    async def last_moment(_life: Lifecycle, _node: object) -> None:
        reached.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(Lifecycle, "_miss_indexes", last_moment)
    oban = Oban(engine, queues={"default": 1})
    starting = asyncio.create_task(oban.start())
    await reached.wait()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert oban._node is None
    assert await execute(engine, "SELECT count(*) FROM oban_producers") == [(0,)]
    monkeypatch.undo()
    async with oban:
        assert oban._node is not None


async def test_a_second_stop_of_a_start_leaves_no_connection_behind(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleaning, stop = asyncio.Event(), Node.stop

    async def stop_node(node: Node, grace: float) -> list[Any]:
        cleaning.set()
        return await stop(node, grace)

    monkeypatch.setattr(Node, "stop", stop_node)
    oban = Oban(engine, queues={"default": 1})
    found = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'oban_sqla' AND datname = current_database()"
    )
    async with engine.connect() as locking:
        await locking.execute(text("LOCK oban_leaders"))
        starting = asyncio.create_task(oban.start())
        waits = f"{found} AND wait_event_type = 'Lock'"

        async def is_waiting() -> bool:
            return await execute(engine, waits) != [(0,)]

        await eventually(is_waiting)
        first = asyncio.create_task(oban.stop())
        await cleaning.wait()  # which waits for the statement under way, which waits for the lock
        second = asyncio.create_task(oban.stop())
        await asyncio.sleep(0)
        await locking.rollback()
    assert [await first, await second] == [[], []]
    with pytest.raises(ObanError, match="ended by stop"):
        await starting

    async def are_gone() -> bool:
        return await execute(engine, found) == [(0,)]

    await eventually(are_gone, 3)
    assert await execute(engine, "SELECT count(*) FROM oban_producers") == [(0,)]


async def test_a_start_that_is_cancelled_while_it_declares_its_queues_takes_them_back(engine: AsyncEngine) -> None:
    oban = Oban(engine, queues={"default": 1})
    waits = "SELECT count(*) FROM pg_locks WHERE relation = 'oban_producers'::regclass AND NOT granted"
    async with engine.connect() as locking:
        await locking.execute(text("LOCK oban_producers IN SHARE MODE"))
        starting = asyncio.create_task(oban.start())

        async def is_waiting() -> bool:
            return await execute(engine, waits) != [(0,)]

        await eventually(is_waiting)
        starting.cancel()
        await asyncio.sleep(0)
        await locking.rollback()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert await execute(engine, "SELECT count(*) FROM oban_producers") == [(0,)]
