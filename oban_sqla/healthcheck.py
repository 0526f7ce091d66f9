"""A health endpoint for any ASGI framework: ``app.mount("/health", health_app(oban))``. Needs nothing but the package.

GET and HEAD are answered with 200 if the node is healthy and with 503 if not; the body is :meth:`Health.as_dict` as
JSON. Other methods are answered with 405. A process without a web framework has ``oban-sqla start --health PORT``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from .insight.health import Health
from .oban import Oban

# ASGI's own shapes, as Starlette spells them.
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

METHODS = ("GET", "HEAD")


def health_app(oban: Oban) -> HealthApp:
    """Make an ASGI application that reports the state of a node.

    ::

        app.mount("/health", health_app(oban))        # FastAPI, Starlette: /health/ and whatever is below it
        app.add_route("/health", health_app(oban))    # the same at exactly this path

    The answer contains names of queues and nodes and ids of running jobs, never arguments. There is no authentication;
    that is left to the surrounding application.

    :param oban: the node. Until it is started, the answer is 503.
    :returns: the ASGI application.
    """
    return HealthApp(oban)


class HealthApp:
    """The ASGI application that :func:`health_app` makes. An object, because routers take a function for an endpoint.

    :param oban: the node whose state is reported.
    """

    def __init__(self, oban: Oban) -> None:
        self._oban = oban
        self._looking: asyncio.Task[Health] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "http":
                await self._answer(scope["method"], send)
            case "lifespan":
                await _live(receive, send)
            case _:  # a websocket: refused
                await receive()
                await send({"type": "websocket.close", "code": 1000})

    async def check(self) -> Health:
        """The state of the node. Concurrent calls share one query and one connection of the pool."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._oban.health())
        return await asyncio.shield(self._looking)  # a caller that is cancelled must not end it for the others

    async def _answer(self, method: str, send: Send) -> None:
        headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
        if method not in METHODS:
            status, body = 405, as_json({"error": "only GET and HEAD are answered"})
            headers.append((b"allow", ", ".join(METHODS).encode()))
        else:
            health = await self.check()
            status, body = 200 if health.ok else 503, as_json(health.as_dict())
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})


def as_json(value: dict[str, Any]) -> bytes:
    """`value` as a line of JSON."""
    return json.dumps(value).encode() + b"\n"


async def _live(receive: Receive, send: Send) -> None:
    """Answer the lifespan messages of a server: there is nothing to set up, nor to clean up."""
    while (message := await receive())["type"] != "lifespan.shutdown":
        await send({"type": f"{message['type']}.complete"})
    await send({"type": "lifespan.shutdown.complete"})


__all__ = ["HealthApp", "health_app"]
