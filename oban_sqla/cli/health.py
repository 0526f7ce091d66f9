"""``oban-sqla start --health``: a small HTTP server for the probes of an orchestrator."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol

import click

from ..healthcheck import METHODS, HealthApp, as_json, health_app
from ..insight.health import PATIENCE
from ..oban import Oban
from ..options.whole import whole_from
from ..telemetry import node_logger as logger
from .param_type import ParamType

EVERYWHERE = "0.0.0.0"
LINE_TIMEOUT = 1.0
"""Seconds that a client has to send the first line of its request."""
CLIENT_TIMEOUT = 5.0
"""Seconds that a client has for the other lines, and as many to take the answer."""
LONGEST_REQUEST = 8192
"""Bytes of a request with all its headers."""
MOST_CLIENTS = 50
"""Connections at once. For a further one, the connection that has been silent longest is closed."""

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. Port 0 means any free port; the log says which."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class AddressType(ParamType[Address]):
    """``127.0.0.1:8080``, ``[::]:8080``, or ``8080`` for all addresses of IPv4, because probes come from outside."""

    name = "[HOST:]PORT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        if isinstance(value, Address):
            return value
        host, colon, port = str(value).rpartition(":")
        bare = host.removeprefix("[").removesuffix("]")
        is_bracketed = host == f"[{bare}]"
        if (colon and not bare) or (":" in bare) != is_bracketed:
            self.fail(
                f"{value!r}: expected a port, or a host and a port such as 127.0.0.1:8080 or [::]:8080", param, ctx
            )
        if (number := whole_from(port)) is None or number > 65_535:
            self.fail(f"{value!r}: expected a port from 0 to 65,535, got {port!r}", param, ctx)
        return Address(bare or EVERYWHERE, number)


@asynccontextmanager
async def answering(pages: Pages, address: Address | Path | None) -> AsyncGenerator[None, None]:
    """Answer health checks at `address` inside this context. There is no authentication: don't expose the port.

    :param pages: the pages that are served.
    :param address: where to listen: an address, or the path of a socket; None answers nothing.
    :raises click.ClickException: when it can't listen there.
    """
    if address is None:
        yield
        return
    serve = _Clients(pages).serve
    try:
        if isinstance(address, Path):
            server = await asyncio.start_unix_server(serve, address, limit=LONGEST_REQUEST)
        else:
            server = await asyncio.start_server(serve, address.host, address.port, limit=LONGEST_REQUEST)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise click.ClickException(f"--health: can't listen on {address}: {reason}") from error
    if isinstance(address, Address):
        for socket in server.sockets:
            host, port = socket.getsockname()[:2]
            logger.info("answering health checks at http://%s", Address(host, port))
    try:
        yield
    finally:
        server.close()


class Pages(Protocol):
    """The pages that are served."""

    async def answer(self, method: str, path: str) -> bytes:
        """The answer to a request, as bytes."""
        ...


class _Clients:
    """The clients: one request per connection, within limits of time, size and number."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._count = 0
        # Clients that have not sent their whole request, the oldest first: written by _read() and _make_room().
        self._silent: dict[asyncio.StreamWriter, None] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._count += 1
        try:
            if self._make_room():
                method, path, refused = await self._read(reader, writer)
                answer = failed(refused, method) if refused is not None else await self._pages.answer(method, path)
                writer.write(answer)
                async with asyncio.timeout(CLIENT_TIMEOUT):
                    writer.close()
                    await writer.wait_closed()
        except (OSError, asyncio.IncompleteReadError):  # the client is slow or gone; TimeoutError is an OSError
            writer.transport.abort()
        except Exception as error:
            logger.error("a health check failed: %s: %s", type(error).__name__, error)
        finally:
            self._count -= 1
            writer.close()

    def _make_room(self) -> bool:
        """Close the client that has been silent longest, if there are too many. False if all are being answered."""
        if self._count <= MOST_CLIENTS:
            return True
        if not self._silent:
            return False
        oldest = next(iter(self._silent))
        del self._silent[oldest]
        oldest.transport.abort()
        return True

    async def _read(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[str, str, HTTPStatus | None]:
        self._silent[writer] = None
        try:
            return await _request(reader)
        finally:
            self._silent.pop(writer, None)


class NodePages:
    """The pages of one runtime.

    ``/`` and ``/ready``
        200 while the node is healthy, and 503 with the reasons while it starts, stops, or can't reach the database.
    ``/live``
        503 when one of its background loops has ended. It does not ask the database, so an outage of the database
        restarts no node.
    ``/metrics``
        Metrics for Prometheus, if prometheus-client is installed.
    """

    def __init__(self, oban: Oban) -> None:
        self._oban = oban
        self._app: HealthApp = health_app(oban)
        pages: dict[str, Callable[[], Awaitable[tuple[int, str, bytes]]]] = {
            "/": self._ready,
            "/ready": self._ready,
            "/live": self._live,
        }
        self._pages = pages
        if (metrics := _metrics_of(oban)) is not None:
            pages["/metrics"] = metrics

    async def answer(self, method: str, path: str) -> bytes:
        """The answer to a request, as bytes."""
        if (page := self._pages.get(path.partition("?")[0])) is None:
            needs = "; /metrics needs: pip install 'oban-sqla[prometheus]'" if "/metrics" not in self._pages else ""
            return failed(HTTPStatus.NOT_FOUND, method, f"not found; the pages are {', '.join(self._pages)}{needs}")
        if method not in METHODS:
            return failed(HTTPStatus.METHOD_NOT_ALLOWED, method, "only GET and HEAD are answered")
        status, kind, body = await page()
        return response(HTTPStatus(status), kind, body, method)

    async def _ready(self) -> tuple[int, str, bytes]:
        health = await self._app.check()
        return 200 if health.ok else 503, JSON, as_json(health.as_dict())

    async def _live(self) -> tuple[int, str, bytes]:
        loops = self._oban.loops
        ok = all(loops.values())
        return 200 if ok else 503, JSON, as_json({"ok": ok, "loops": loops})


def _metrics_of(oban: Oban) -> Callable[[], Awaitable[tuple[int, str, bytes]]] | None:
    """The page of the metrics; None when prometheus-client is not installed."""
    try:
        from prometheus_client import REGISTRY, generate_latest
        from prometheus_client.exposition import CONTENT_TYPE_LATEST

        from .. import prometheus
    except ImportError:
        return None
    try:
        metrics = prometheus.instrument()
    except ValueError:  # the imported program has called it already
        metrics = None
    one_at_a_time = asyncio.Lock()

    async def page() -> tuple[int, str, bytes]:
        if metrics is not None:
            try:
                async with asyncio.timeout(PATIENCE), one_at_a_time:
                    await metrics.count(oban.engine)
            except Exception as error:  # the other metrics are needed during an outage
                logger.debug("could not count the jobs: %s: %s", type(error).__name__, error)
        return 200, CONTENT_TYPE_LATEST, generate_latest(REGISTRY)

    return page


async def _request(reader: asyncio.StreamReader) -> tuple[str, str, HTTPStatus | None]:
    """The method and the path of a request; and a status if it is refused, else None."""
    try:
        async with asyncio.timeout(LINE_TIMEOUT):
            first = await reader.readuntil(b"\r\n")
        size, line = len(first), first if first == b"\r\n" else b""
        async with asyncio.timeout(CLIENT_TIMEOUT):
            while line != b"\r\n":
                line = await reader.readuntil(b"\r\n")
                size += len(line)
                if size > LONGEST_REQUEST:
                    return "", "", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    except asyncio.LimitOverrunError:
        return "", "", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    match first.removesuffix(b"\r\n").decode("latin-1").split(" "):
        case [method, path, "HTTP/1.0" | "HTTP/1.1"] if method and path.startswith("/"):
            return method, path, None
        case _:
            return "", "", HTTPStatus.BAD_REQUEST


def failed(status: HTTPStatus, method: str, error: str | None = None) -> bytes:
    """The answer to a request that is refused.

    :param error: the reason. Default: the phrase of the status.
    """
    return response(status, JSON, as_json({"error": error or status.phrase}), method)


def response(status: HTTPStatus, kind: str, body: bytes, method: str) -> bytes:
    """A response of HTTP, as bytes; without its body for HEAD."""
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "Connection: close",
    ]
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        lines.append(f"Allow: {', '.join(METHODS)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (b"" if method == "HEAD" else body)
