"""The crontab at run time: ``oban.crons``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from ..enqueueing.writer import write
from ..errors import InvalidOption, unknown
from ..models import JobSpec
from ..models.cron import CronEntry
from ..models.spec import WorkerLike
from ..statements import cron as statements
from ..statements.identify import schema_of
from ..statements.notify import notify
from ..statements.wire import CRON, channel
from ..workers.cron import Cron, copied, notes

T = TypeVar("T")


class Crons:
    """The entries of the cluster. What is changed here counts on all nodes, at once, and stays.

    Works on a runtime that has not been started, too. Every call is a transaction of its own.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def put(
        self,
        name: str,
        expression: str,
        spec: JobSpec | WorkerLike,
        *,
        timezone: str = "UTC",
        paused: bool = False,
        catch_up: bool = False,
    ) -> None:
        """Add an entry, or replace the one of that name.

        An entry from the code that is put belongs to run time from then on: no start of a node changes it again,
        until it is deleted.

        :param name: of the entry; the rest is as in :class:`Cron`.
        :raises InvalidOption: as for :class:`Cron`.
        """
        cron = Cron(expression, spec, timezone, name, paused, catch_up)
        await self._transaction(lambda session: statements.put.execute(_told(session), **cron.row()))

    async def all(self) -> list[CronEntry]:
        """The entries, by name; copies, to be read."""
        return await self._transaction(_all)

    async def delete(self, name: str) -> bool:
        """Remove an entry. One that is in the code comes back at the next start of a node: pause it instead.

        :returns: whether it was there.
        """
        removed = await self._transaction(lambda session: statements.remove.execute(_told(session), name=name).all())
        return bool(removed)

    async def pause(self, name: str) -> None:
        """Let an entry rest, also over restarts, until it is resumed.

        :raises InvalidOption: when there is no such entry.
        """
        await self._pause(name, paused=True)

    async def resume(self, name: str) -> None:
        """The end of :meth:`pause`. What would have been due meanwhile is not made up for.

        :raises InvalidOption: when there is no such entry.
        """
        await self._pause(name, paused=False)

    async def run_now(self, name: str) -> JobSpec:
        """Enqueue the entry's job now, beside its ticks; a paused entry's too.

        :returns: the job's spec, with id, state and conflict (its ``unique`` counts).
        :raises InvalidOption: when there is no such entry.
        """

        def run(session: Session) -> JobSpec:
            entry = _entry(session, name)
            [written] = write(session, [copied(entry.spec, notes(name, entry.expression, entry.timezone))])
            return written

        return await self._transaction(run)

    async def _pause(self, name: str, paused: bool) -> None:
        def run(session: Session) -> None:
            if not statements.pause.execute(_told(session), name=name, paused=paused).all():
                raise _unknown(session, name)

        await self._transaction(run)

    async def _transaction(self, work: Callable[[Session], T]) -> T:
        async with AsyncSession(self._engine, expire_on_commit=False) as session, session.begin():
            return await session.run_sync(work)


def _told(session: Session) -> Connection:
    """The session's connection, after telling the leader to look again when this transaction commits."""
    connection = session.connection()
    notify.execute(connection, channels=[channel(CRON, schema_of(connection))], payloads=["{}"])
    return connection


def _all(session: Session) -> list[CronEntry]:
    entries: list[CronEntry] = [*session.scalars(select(CronEntry).order_by(CronEntry.name))]
    session.expunge_all()
    return entries


def _entry(session: Session, name: str) -> CronEntry:
    if (entry := session.get(CronEntry, name)) is None:
        raise _unknown(session, name)
    return entry


def _unknown(session: Session, name: str) -> InvalidOption:
    return unknown("cron entry", name, [*session.scalars(select(CronEntry.name))])
