"""A proxy between a node and its server, which loses what a test asks it to lose.

It reads the frontend's messages, so that "the answer to a fetch" can be swallowed when the server has given it, which
is after the commit. Count, stall and cut are by connection or for all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import URL, make_url

ENCRYPTION_REQUESTS = (80877103, 80877104)


class Proxy:
    """Use :func:`proxy`.

    :ivar url: for asyncpg; for psycopg set its drivername.
    :ivar opened: how many connections there have been.
    :ivar executed: how often each statement was executed, by its text.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.opened = 0
        self.executed: Counter[str] = Counter()
        self.refuses = False
        self.refused = 0
        """How many connections were refused so."""
        self.refuses_with: tuple[str, str] | None = None
        """The SQLSTATE and the message of the server's refusal of each new connection."""
        self._unanswered: list[asyncio.StreamWriter] | None = None
        self._links: set[Link] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._stall_at: int | None = None
        self._traps: list[Trap] = []
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        url = make_url(self.target)
        url = URL.create(url.drivername, url.username, url.password, host, port, url.database)
        return url.render_as_string(hide_password=False)

    @property
    def open(self) -> int:
        """How many connections there are now."""
        return len(self._links)

    def lose_answer(self, words: str, times: int = 1) -> Trap:
        """Swallow the whole answer to the next `times` statements with `words` in their text, then cut the connection.

        The server has committed by then; the client will never know.
        """
        trap = Trap(words, times)
        self._traps.append(trap)
        return trap

    def swallow(self, words: str, times: int = 1) -> Trap:
        """Swallow the answers to the next `times` statements with `words` in their text, and all that comes after on
        those connections, which stay open. Others work."""
        trap = Trap(words, times, hangs=True)
        self._traps.append(trap)
        return trap

    def stall(self) -> None:
        """From now on nothing passes, in either direction, and nobody is told."""
        self._flowing.clear()

    def ignore(self) -> None:
        """From now on a new connection gets no answer. Those that there are go on."""
        self._unanswered = []

    def answer(self) -> None:
        """The end of :meth:`ignore`."""
        for writer in self._unanswered or ():
            writer.close()
        self._unanswered = None

    def stall_after(self, statements: int) -> None:
        """Stall before the answer to the next statement but `statements`; with 0 at once."""
        if statements == 0:
            self.stall()
        self._stall_at = sum(self.executed.values()) + statements if statements else None

    def flow(self) -> None:
        """The end of :meth:`stall`."""
        self._stall_at = None
        self._flowing.set()

    def cut(self) -> None:
        """Close all connections."""
        for link in list(self._links):
            link.cut()

    def count(self, sql: str) -> None:
        self.executed[sql] += 1
        if self._stall_at is not None and sum(self.executed.values()) >= self._stall_at:
            self.stall()

    def trap_for(self, sql: str) -> Trap | None:
        return next((trap for trap in self._traps if trap.left and trap.words in sql), None)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.answer()
        self.flow()
        self.cut()
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuses:
            writer.close()
            return
        if self._unanswered is not None:
            self._unanswered.append(writer)
            return
        if self.refuses_with is not None:
            self.refused += 1
            await _refuse(reader, writer, *self.refuses_with)
            return
        try:
            upstream = await self._connect()
        except OSError:
            writer.close()
            return
        self.opened += 1
        link = Link(self, (reader, writer), upstream)
        self._links.add(link)
        try:
            await link.run()
        finally:
            self._links.discard(link)
            link.cut()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        url = make_url(self.target)
        host, port = url.host, url.port or 5432
        if "host" in url.query:
            host, port = str(url.query["host"]), int(str(url.query.get("port", port)))
        if host is not None and host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, port)

    async def flowing(self) -> None:
        await self._flowing.wait()


class Trap:
    """A fault that waits for its statement. `sprung` is set each time it has struck."""

    def __init__(self, words: str, times: int, hangs: bool = False) -> None:
        self.words = words
        self.hangs = hangs
        self.left = times
        self.sprung = asyncio.Event()

    def spring(self) -> None:
        self.left -= 1
        self.sprung.set()


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Link:
    """One connection through the proxy."""

    def __init__(self, proxy: Proxy, client: Streams, server: Streams) -> None:
        self._proxy = proxy
        self._client_reader, self._client_writer = client
        self._server_reader, self._server_writer = server
        self._texts: dict[bytes, str] = {}
        self._portals: dict[bytes, str] = {}
        self._trap: Trap | None = None
        self._hangs = False

    async def run(self) -> None:
        halves = [asyncio.create_task(half) for half in (self._from_client(), self._from_server())]
        try:
            await asyncio.wait(halves, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for half in halves:
                half.cancel()
            await asyncio.gather(*halves, return_exceptions=True)

    def cut(self) -> None:
        for writer in (self._client_writer, self._server_writer):
            with contextlib.suppress(Exception):
                writer.transport.abort()

    async def _from_client(self) -> None:
        self._server_writer.write(await _startup(self._client_reader, self._client_writer))
        await self._pass(self._client_reader, self._server_writer, self._on_client)

    async def _from_server(self) -> None:
        await self._pass(self._server_reader, self._client_writer, self._on_server)

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, on: Callable[[bytes, bytes], bool]
    ) -> None:
        while True:
            head = await reader.readexactly(5)
            body = await reader.readexactly(struct.unpack("!i", head[1:])[0] - 4)
            await self._proxy.flowing()
            if on(head[:1], body):
                writer.write(head + body)
                await writer.drain()

    def _on_client(self, kind: bytes, body: bytes) -> bool:
        if self._hangs:
            return False
        if kind == b"P":
            name, sql, _ = body.split(b"\0", 2)
            self._texts[name] = sql.decode()
        elif kind == b"B":
            portal, name, _ = body.split(b"\0", 2)
            self._portals[portal] = self._texts.get(name, "")
        elif kind == b"E":
            self._executes(self._portals.get(body.split(b"\0", 1)[0], ""))
        elif kind == b"Q":
            self._executes(body.rstrip(b"\0").decode())
        return True

    def _executes(self, sql: str) -> None:
        self._proxy.count(sql)
        self._trap = self._trap or self._proxy.trap_for(sql)

    def _on_server(self, kind: bytes, body: bytes) -> bool:
        if self._trap is None:
            return not self._hangs
        if kind == b"Z":  # ready for the next query: what came before is committed
            trap, self._trap = self._trap, None
            if trap.left:
                trap.spring()
                if trap.hangs:
                    self._hangs = True
                else:
                    self.cut()
        return False


async def _startup(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """The first message of a client, which is told that there is no encryption."""
    while True:
        startup = await reader.readexactly(4)
        startup += await reader.readexactly(struct.unpack("!i", startup)[0] - 4)
        if struct.unpack("!i", startup[4:8])[0] not in ENCRYPTION_REQUESTS:
            return startup
        writer.write(b"N")


async def _refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sqlstate: str, message: str) -> None:
    with contextlib.suppress(OSError, EOFError):
        await _startup(reader, writer)
        parts = ("SFATAL", "VFATAL", f"C{sqlstate}", f"M{message}", "")
        body = b"".join(part.encode() + b"\0" for part in parts)
        writer.write(b"E" + struct.pack("!i", len(body) + 4) + body)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def proxy(url: str, **attributes: Any) -> AsyncGenerator[Proxy]:
    """A proxy to the server of `url`."""
    made = Proxy(url)
    for name, value in attributes.items():
        setattr(made, name, value)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()
