"""How long what is done in a session may take: its connections are cut after that."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Generator
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, SessionTransaction

from ..workers.running_loop import running_loop
from .lanes.driver import cut

LONGEST_END = 60.0
"""Seconds after which a server is given up that does not answer what ends a session: a job would never end."""

_DRIVERS = "oban_sqla.drivers"
"""In the session's `info`: the drivers' connections, by SQLAlchemy's."""


def watch(session: AsyncSession | Session) -> None:
    """Note from now on which connections `session` has, for :func:`in_time`."""
    session.info[_DRIVERS] = {}


@contextlib.contextmanager
def in_time(session: AsyncSession | Session) -> Generator[None]:
    """Cut the connections of `session` if this takes too long. What it was doing fails then, as with any lost line."""
    drivers = session.info.get(_DRIVERS, {})
    timer: asyncio.TimerHandle | threading.Timer
    if (loop := running_loop()) is not None:
        timer = loop.call_later(LONGEST_END, _cut, drivers)
    else:  # a plain function in its thread, or a drain without an event loop
        timer = threading.Timer(LONGEST_END, _cut, (drivers,))
        timer.daemon = True
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _cut(drivers: dict[Connection, Any]) -> None:
    for driver in list(drivers.values()):
        cut(driver)


@event.listens_for(Session, "after_begin")
def _note_begin(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    if not transaction.nested and _DRIVERS in session.info:
        session.info[_DRIVERS][connection] = connection.connection.driver_connection


@event.listens_for(Session, "after_transaction_end")
def _note_end(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is None and _DRIVERS in session.info:
        session.info[_DRIVERS].clear()  # they are the pool's again
