"""``oban-sqla web``: serves the dashboard."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
import secrets
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

import click
from sqlalchemy.ext.asyncio import AsyncEngine

from ..control.audit import operator
from ..oban import Oban
from .database import database_option, on_database, schema_option
from .instance import instance_option
from .ranges import Whole
from .settings import explaining
from .signals import to_stop

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from ..web import Operator

SHORTEST_TOKEN = 16
"""Fewest characters of a token; a shorter one can be guessed."""


@click.command(short_help="Open the dashboard.")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Address to listen on.")
@click.option("--port", type=Whole(0, 65_535), default=4000, show_default=True, help="Port; 0: any free one.")
@click.option("--read-only", is_flag=True, help="Show everything, and change nothing.")
@click.option(
    "--token",
    metavar="TEXT",
    envvar="OBAN_WEB_TOKEN",
    show_envvar=True,
    help="Ask for this as a password, or as a bearer token. Needed on any other address than 127.0.0.1 and ::1.",
)
@database_option
@schema_option
@instance_option
def web(
    host: str, port: int, read_only: bool, token: str | None, url: str | None, schema: str | None, instance: str
) -> None:
    """Serve the dashboard until Ctrl-C: jobs, queues, failures, nodes, and the changes that an operator makes.

    \b
      oban-sqla web                     # http://127.0.0.1:4000/
      oban-sqla web --read-only
      OBAN_WEB_TOKEN=... oban-sqla web --host 0.0.0.0

    Without a token it answers only requests whose Host header names this machine: localhost,
    127.0.0.1 or [::1]. With a token the browser asks for a name, which the audit shows, and for the
    token as the password. The connection is not encrypted: put a proxy with TLS before it.
    Needs starlette, jinja2 and uvicorn: pip install 'oban-sqla[web]'
    """
    if token is None and not _is_loopback(host):
        raise click.UsageError(
            f"--host {host} can be reached from other machines, so it needs --token, or OBAN_WEB_TOKEN in the "
            "environment"
        )
    if token is not None and len(token) < SHORTEST_TOKEN:
        raise click.UsageError(
            f"--token: expected at least {SHORTEST_TOKEN} characters; make one with: "
            "python -c 'import secrets; print(secrets.token_urlsafe())'"
        )
    try:
        import uvicorn  # noqa: F401  # pyright: ignore[reportUnusedImport]

        from .. import web as _web  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        raise click.ClickException("web needs starlette, jinja2 and uvicorn: pip install 'oban-sqla[web]'") from error
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise click.ClickException(f"can't listen on {host} port {port}: {error.strerror or error}") from error
    with listening:
        on_database(url, schema, lambda engine: _serve(engine, listening, instance, read_only, token))


async def _serve(
    engine: AsyncEngine, listening: socket.socket, instance: str, read_only: bool, token: str | None
) -> None:
    import uvicorn

    from ..web.dashboard import Dashboard

    app = Dashboard(
        Oban(engine, name=instance, **explaining()),
        authorize=_authorize(read_only, token),
        guard=_guard(token),
    )
    host, port = listening.getsockname()[:2]
    click.echo(f"the dashboard is at http://{f'[{host}]' if ':' in host else host}:{port}/ (Ctrl-C ends it)")
    config = uvicorn.Config(app, log_level="warning", access_log=False, log_config=None, lifespan="on")
    server = uvicorn.Server(config)
    # Uvicorn would raise the signal again at its end, which would interrupt the closing of the connections.
    setattr(server, "capture_signals", contextlib.nullcontext)  # noqa: B010
    loop = asyncio.get_running_loop()
    for number in to_stop():
        loop.add_signal_handler(number, server.handle_exit, number, None)
    await server.serve(sockets=[listening])


def _authorize(read_only: bool, token: str | None) -> Callable[[Request], Operator | None]:
    from ..web import Access, Operator

    access = Access.READ if read_only else Access.ALL
    here = operator().who

    def authorize(request: Request) -> Operator | None:
        if token is None:
            return Operator(here, access)
        given = _credentials(request.headers.get("authorization", ""))
        if given is None or not secrets.compare_digest(given[1].encode(), token.encode()):
            return None
        return Operator(given[0] or "token", access)

    return authorize


def _guard(token: str | None) -> Callable[[Request], Response | None]:
    from starlette.responses import PlainTextResponse

    from ..web.headers import names_loopback

    def guard(request: Request) -> Response | None:
        if token is None:
            if names_loopback(request):
                return None
            return PlainTextResponse(
                "Without --token this dashboard answers only to localhost, 127.0.0.1 and [::1].\n", status_code=403
            )
        given = _credentials(request.headers.get("authorization", ""))
        if given is not None and secrets.compare_digest(given[1].encode(), token.encode()):
            return None
        return PlainTextResponse(
            "The token is the password.\n",
            status_code=401,
            headers={"www-authenticate": 'Basic realm="oban_sqla", charset="UTF-8"'},
        )

    return guard


def _credentials(header: str) -> tuple[str, str] | None:
    """The name and the token of an ``Authorization`` header; None when it has none."""
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer":
        return "", value.strip()
    if scheme.lower() != "basic":
        return None
    try:
        name, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except ValueError:  # not base64, not ASCII, or not UTF-8
        return None
    return name.strip(), password


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
