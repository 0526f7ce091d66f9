"""The temporary database of a command: an embedded server, or a schema that is dropped at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import click
from sqlalchemy import inspect, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.schema import CreateSchema, DropSchema

from .. import embedded, migrations
from .database import engine_for, reached
from .problems import line
from .process import loop_factory
from .signals import to_stop

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

POOL = 10
"""Connections of the engine; together with those of a node, they stay far below a server's default of 100."""


@dataclass(frozen=True, slots=True)
class Scratch:
    """A temporary database with the tables of the queue.

    :ivar url: of the database.
    :ivar engine: on the database.
    :ivar schema: of the tables; None for an embedded server.
    """

    url: str
    engine: AsyncEngine
    schema: str | None

    @property
    def sessions(self) -> async_sessionmaker[AsyncSession]:
        """Sessions whose objects stay readable after their commit."""
        return async_sessionmaker(self.engine, expire_on_commit=False)

    def named(self, table: str) -> str:
        """`table` as plain SQL names it."""
        return table if self.schema is None else f"{self.schema}.{table}"


def scratch_option(command: F) -> F:
    """``--database-url`` alone: a database that is named only in the environment or a file is not used."""
    return click.option(
        "--database-url",
        "url",
        metavar="URL",
        help="A PostgreSQL database for a temporary schema. Default: a temporary server.",
    )(command)


def on_scratch(url: str | None, schema: str, work: Callable[[Scratch], Awaitable[T]]) -> T:
    """What `work` returns for a temporary database. The database is removed afterwards, also after a signal to stop.

    :param url: where `schema` is created and dropped; None for an embedded server in a temporary directory.
    :raises click.ClickException: when the schema exists already, or no server can be started.
    :raises click.Abort: when a signal has ended the work.
    :raises DatabaseUnavailable: when the server does not answer.
    """
    if url is not None:
        return _run(url, schema, work)
    click.echo("starting a PostgreSQL in a temporary directory", err=True)
    with _server() as server:
        return _run(server.url, None, work)


def _server() -> embedded.Server:
    try:
        return embedded.start()
    except embedded.EmbeddedError as error:
        raise click.ClickException(f"{line(error)} Or give --database-url.") from error


def _run(url: str, schema: str | None, work: Callable[[Scratch], Awaitable[T]]) -> T:
    async def run() -> T:
        running = asyncio.current_task()
        assert running is not None
        for number in to_stop():
            asyncio.get_running_loop().add_signal_handler(number, running.cancel)
        async with _scratch(url, schema) as scratch:
            return await work(scratch)

    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(run())
    except asyncio.CancelledError:
        raise click.Abort from None


@asynccontextmanager
async def _scratch(url: str, schema: str | None) -> AsyncGenerator[Scratch, None]:
    # Without the ping before each use, which other commands have: it would be measured as a round trip.
    engine = create_async_engine(engine_for(url).url, pool_size=POOL)
    if schema is not None:
        engine = engine.execution_options(schema_translate_map={None: schema})
    try:
        await reached(engine, schema)
        creating = asyncio.create_task(_create(engine, schema))
        try:
            # A signal must not interrupt this: it would be unknown whether the schema is there.
            await asyncio.shield(creating)
            await migrations.migrate(engine, schema)
            yield Scratch(url, engine, schema)
        finally:
            await asyncio.wait([creating])
            if creating.exception() is None:
                await _drop(engine, schema)
    finally:
        await engine.dispose()


async def _create(engine: AsyncEngine, schema: str | None) -> None:
    """Create the schema, which must not exist: everything in it will be dropped."""
    if schema is None:
        return
    async with engine.begin() as connection:
        if await connection.run_sync(lambda sync: inspect(sync).has_schema(schema)):
            raise click.ClickException(
                f"the schema {schema} exists already; if another run has left it behind: DROP SCHEMA {schema} CASCADE"
            )
        await connection.execute(CreateSchema(schema))


async def _drop(engine: AsyncEngine, schema: str | None) -> None:
    if schema is None:
        return
    try:
        async with engine.begin() as connection:
            await connection.execute(text("SET LOCAL lock_timeout = '10s'"))
            await connection.execute(DropSchema(schema, cascade=True))
    except BaseException:
        click.echo(f"could not drop the schema {schema}; to drop it: DROP SCHEMA {schema} CASCADE", err=True)
        raise
