"""What lanes ask of a driver's own connection, where asyncpg and psycopg differ."""

from __future__ import annotations

import contextlib
import os
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


def descriptor(driver: Any) -> int:
    """The number of the connection's socket in this process."""
    if isinstance(driver, asyncpg.Connection):
        transport: Any = getattr(cast(Any, driver), "_transport")  # noqa: B009 (asyncpg offers no other way)
        return int(transport.get_extra_info("socket").fileno())
    return int(driver.fileno())


def prepare_nothing(driver: Any) -> None:
    """Let the driver give no statement a name, because another backend may answer the next transaction."""
    if not isinstance(driver, asyncpg.Connection):  # whose statements are prepared one by one
        driver.prepare_threshold = None
