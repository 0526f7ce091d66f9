"""The crontab at run time: ``oban.crons``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, select
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import Session

from ..enqueueing.writer import write
from ..errors import InvalidOption, unknown
from ..models import JobSpec
from ..models.checks import check_name, check_storable
from ..models.cron import CronEntry
from ..models.spec import WorkerLike
from ..statements import cron as statements
from ..statements.identify import schema_of
from ..statements.notify import notify
from ..statements.wire import CRON, channel
from ..workers.cron import Cron, copied, notes
from .audit import note
from .engines import Engines

T = TypeVar("T")

_NAME = "name of a cron entry"


class Crons:
    """The crontab of the cluster: ``oban.crons``.

    A change applies on all nodes at once, and lasts over restarts. The ``Oban`` need not be started. Each call is a
    separate transaction.
    """

    def __init__(self, engine: AsyncEngine, engines: Engines | None = None) -> None:
        self._engines = Engines(engine, lambda: None) if engines is None else engines

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
        """Add an entry, or replace the entry of that name.

        If the code declares an entry of that name, this one overrides it: no start of a node changes it again, until
        it is deleted.

        :param name: the name of the entry.
        :param expression: five fields as in crontab(5), such as ``"0 9 * * MON-FRI"``; or ``@hourly``, ``@daily``,
            ``@midnight``, ``@weekly``, ``@monthly``, ``@yearly``, ``@annually`` or ``@reboot``.
        :param spec: the job: a spec, or a worker that needs no arguments. Each tick enqueues a copy; ``schedule_in``
            counts from the tick.
        :param timezone: the time zone of the expression, an IANA name. Default ``"UTC"``.
        :param paused: whether the entry is paused; an existing entry is paused or resumed. Default False.
        :param catch_up: run the last tick that was missed while no node was running. Default False: a tick that is
            more than a minute late is missed.
        :raises InvalidOption: for an expression or time zone that is not valid, or a job that can't be copied.
        :raises DatabaseUnavailable: when the database can't be reached, or does not answer; nothing was changed.
        """
        cron = Cron(expression, spec, timezone, check_name(_NAME, name), paused, catch_up)
        await self._transaction(lambda session: statements.put.execute(_told(session), **cron.row()))

    async def all(self) -> list[CronEntry]:
        """Read the entries.

        :returns: the entries, sorted by name. Changing these objects changes nothing in the database.
        :raises DatabaseUnavailable: when the database can't be reached, or does not answer; nothing was changed.
        """
        return await self._transaction(_all)

    async def delete(self, name: str) -> bool:
        """Remove an entry. An entry of the code comes back at the next start of a node: pause it instead.

        :param name: the name of the entry.
        :returns: whether there was such an entry.
        :raises DatabaseUnavailable: when the database can't be reached, or does not answer; nothing was changed.
        """
        check_storable(_NAME, name)
        return await self._transaction(lambda session: _remove(session, name))

    async def pause(self, name: str) -> None:
        """Pause an entry until it is resumed, over restarts too.

        :param name: the name of the entry.
        :raises InvalidOption: if there is no such entry.
        :raises DatabaseUnavailable: when the database can't be reached, or does not answer; nothing was changed.
        """
        await self._pause(name, paused=True)

    async def resume(self, name: str) -> None:
        """Resume a paused entry. Ticks that were due while it was paused are not run.

        :param name: the name of the entry.
        :raises InvalidOption: if there is no such entry.
        :raises DatabaseUnavailable: when the database can't be reached, or does not answer; nothing was changed.
        """
        await self._pause(name, paused=False)

    async def run_now(self, name: str) -> JobSpec:
        """Enqueue the job of an entry now, in addition to its ticks, even if the entry is paused.

        :param name: the name of the entry.
        :returns: the job's spec, with ``id``, ``state`` and ``conflict``; the job's ``unique`` applies.
        :raises InvalidOption: if there is no such entry.
        :raises DatabaseUnavailable: when the database can't be reached, or does not answer; nothing was changed.
        """
        check_storable(_NAME, name)

        def run(session: Session) -> JobSpec:
            entry = _entry(session, name)
            [written] = write(session, [copied(entry.spec, notes(name, entry.expression, entry.timezone))])
            note(session.connection(), int(not written.conflict))
            return written

        return await self._transaction(run)

    async def _pause(self, name: str, paused: bool) -> None:
        check_storable(_NAME, name)

        def run(session: Session) -> None:
            if not statements.pause.execute(_told(session), name=name, paused=paused).all():
                raise _unknown(session, name)

        await self._transaction(run)

    async def _transaction(self, work: Callable[[Session], T]) -> T:
        async with self._engines.transaction() as session:
            return await session.run_sync(work)


def _remove(session: Session, name: str) -> bool:
    removed = bool(statements.remove.execute(session.connection(), name=name).all())
    if removed:  # else there is nothing to tell, and nothing for the audit
        _told(session)
    return removed


def _told(session: Session) -> Connection:
    """The session's connection, after telling the leader to look again when this transaction commits."""
    connection = session.connection()
    note(connection)
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
