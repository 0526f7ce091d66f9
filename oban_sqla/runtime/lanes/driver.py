"""What lanes ask of a driver's own connection, where asyncpg and psycopg differ."""

from __future__ import annotations

import contextlib
import os
import select
import socket
from typing import Any, cast

import asyncpg


def promised_backend(driver: Any) -> int:
    """The process id of the backend that the server, or a pooler, named when the connection was made."""
    return int(driver.get_server_pid() if isinstance(driver, asyncpg.Connection) else driver.info.backend_pid)


def cut(driver: Any) -> None:
    """End the connection at once, so that what waits for an answer on it fails by itself."""
    if isinstance(driver, asyncpg.Connection):
        driver.terminate()
        return
    # A duplicate, because the descriptor itself is psycopg's to close.
    with contextlib.suppress(Exception), socket.socket(fileno=os.dup(driver.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)


def is_closed(driver: Any, *, looks: bool) -> bool:
    """Whether the server has closed a connection on which nothing is under way.

    psycopg would only learn of it from the next statement, and then it would not be known whether that was executed.
    asyncpg hears of it from the event loop, but in two steps: between "I am going" and the end of the line it refuses
    statements.

    :param looks: whether to look at the socket. False where the server may say something unasked: then only what the
        driver knows counts.
    """
    if driver.is_closed() if isinstance(driver, asyncpg.Connection) else driver.closed:
        return True
    if not looks:
        return False
    if (number := descriptor(driver)) < 0:
        return True
    # A server that says something unasked takes its leave, or has new settings, for which a new connection is as good.
    waiting = select.poll()
    waiting.register(number, select.POLLIN)
    return bool(waiting.poll(0))


def descriptor(driver: Any) -> int:
    """The number of the connection's socket in this process."""
    if isinstance(driver, asyncpg.Connection):
        untyped = cast(Any, driver)
        return int(untyped._transport.get_extra_info("socket").fileno())  # asyncpg offers no other way
    return int(driver.fileno())


async def send(driver: Any, commands: str) -> None:
    """Execute several commands in one round trip. They can't be prepared, which ``prepare_threshold=0`` asks for."""
    if isinstance(driver, asyncpg.Connection):
        await driver.execute(commands)
    else:
        await driver.execute(commands, prepare=False)


def prepare_nothing(driver: Any) -> None:
    """Let the driver give no statement a name, because another backend may answer the next transaction."""
    if not isinstance(driver, asyncpg.Connection):  # whose statements are prepared one by one
        driver.prepare_threshold = None
