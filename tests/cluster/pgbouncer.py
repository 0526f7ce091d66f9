"""A PgBouncer in front of a server, of the machine's own (Debian: ``apt-get install pgbouncer``)."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import socket
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import URL, make_url

from tests.support import eventually

BINARY = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")

needed = pytest.mark.skipif(BINARY is None, reason="there is no pgbouncer on this machine")


@asynccontextmanager
async def pgbouncer(url: str, mode: str = "transaction", pool_size: int = 5) -> AsyncGenerator[URL]:
    """A pooler before the server of `url`; the address to use instead."""
    server = make_url(url)
    port = _free_port()
    directory = _directory()
    host = str(server.query.get("host", server.host or "127.0.0.1"))
    at = [f"host={host}", f"port={server.query.get('port', server.port or 5432)}", f"user={server.username}"]
    if server.password is not None:
        at.append(f"password={server.password}")
    config = directory / "pgbouncer.ini"
    options = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "any",
        "pool_mode": mode,
        "default_pool_size": pool_size,
        "max_client_conn": 500,
        "ignore_startup_parameters": "extra_float_digits",
    }
    said = "\n".join(f"{key} = {value}" for key, value in options.items())
    config.write_text(f"[databases]\n* = {' '.join(at)}\n[pgbouncer]\n{said}\n")
    assert BINARY is not None
    process = await asyncio.create_subprocess_exec(
        BINARY, *_other_than_root(), "-q", str(config), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await eventually(lambda: _answers(port))
        yield URL.create("postgresql+asyncpg", "somebody", None, "127.0.0.1", port, server.database)
    finally:
        process.terminate()
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined]
        shutil.rmtree(directory)


def _directory() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="oban-pgbouncer-"))
    directory.chmod(0o755)
    return directory


def _other_than_root() -> list[str]:
    if os.getuid() != 0:
        return []
    names = {user.pw_name for user in pwd.getpwall()}
    return ["-u", "postgres" if "postgres" in names else "nobody"]


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
