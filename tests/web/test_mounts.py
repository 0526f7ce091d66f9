"""The dashboard inside of other frameworks, under any path, and behind proxies."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from typing import Any, cast
from wsgiref.types import StartResponse, WSGIEnvironment

import httpx
import pytest
from a2wsgi import ASGIMiddleware
from fastapi import FastAPI
from flask import Flask
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette
from starlette.routing import Mount
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from oban_sqla.web import Access, Dashboard, dashboard
from tests.web.conftest import Browser, insert

PAGES = ("", "jobs", "queues", "failures", "crons", "nodes", "audit", "system", "new")


@pytest.fixture
async def board(engine: AsyncEngine) -> AsyncIterator[Dashboard]:
    app = dashboard(engine, authorize=Access.ALL)
    yield app
    await app.aclose()


async def followed(browser: Browser, start: str, outside: str) -> None:
    """Follow every link, file and form of each page from `start` on: all lie below it and are there.

    :param outside: the path under which the browser reaches the application.
    """
    seen: set[str] = set()
    todo = [start]
    while todo:
        url = todo.pop()
        response = await browser.get(url)
        while response.status_code in (301, 303, 307, 308):
            url = str(httpx.URL(f"http://test{url}").join(response.headers["location"]).raw_path, "ascii")
            response = await browser.get(url)
        assert response.status_code == 200, url
        if "html" not in response.headers["content-type"]:
            continue
        for link in re.findall(r'(?:href|src)="([^"]*)"', response.text):
            if link.startswith(("#", "data:")):
                continue
            target = httpx.URL(f"http://test{url}").join(link.replace("&amp;", "&"))
            assert target.path.startswith(outside), (url, link)
            path = target.raw_path.decode()
            if path.partition("?")[0] not in seen:
                seen.add(path.partition("?")[0])
                todo.append(path)
    assert {f"{outside}{page}" for page in PAGES} <= seen | {f"{outside}new"}


async def job(engine: AsyncEngine) -> None:
    await insert(engine, {"state": "available", "worker": "app.w", "queue": "a/b"})


def in_starlette(app: Any) -> Any:
    return Starlette(routes=[Mount("/ops", routes=[Mount("/jobs", app=app)])])


def in_fastapi(app: Any) -> Any:
    api = FastAPI()
    api.mount("/ops/jobs", app)
    return api


def behind_a_root_path(app: Any, mount: Any = in_starlette) -> Any:
    api = mount(app)

    async def served(scope: Any, receive: Any, send: Any) -> None:
        await api({**scope, "root_path": "/proxy"}, receive, send)

    return served


def behind_a_proxy_that_strips_the_root_path(app: Any) -> Any:
    return behind_a_root_path(app, in_fastapi)


@pytest.mark.parametrize(
    ("mount", "prefix"),
    [
        (in_starlette, ""),
        (in_fastapi, ""),
        (behind_a_root_path, "/proxy"),
        (behind_a_proxy_that_strips_the_root_path, ""),
    ],
    ids=["starlette", "fastapi", "proxy", "proxy that strips"],
)
async def test_every_link_is_right_where_it_is_mounted(
    engine: AsyncEngine, board: Dashboard, mount: Any, prefix: str
) -> None:
    await job(engine)
    browser = Browser(mount(board))
    try:
        await followed(browser, f"{prefix}/ops/jobs", f"{prefix}/ops/jobs/")
        response = await browser.send(
            f"{prefix}/ops/jobs/do/queue", {"queue": "a/b", "verb": "pause", "back": "queues"}
        )
        assert response.headers["location"] == "../queues?did=queue.pause&n=1"
    finally:
        await browser.client.aclose()


async def test_every_link_is_right_in_litestar(engine: AsyncEngine, board: Dashboard) -> None:
    litestar: Any = pytest.importorskip("litestar", reason="of the extra dev")
    await job(engine)
    mounted: Any = litestar.asgi("/ops/jobs", is_mount=True, copy_scope=True)(_handler(board))
    browser = Browser(litestar.Litestar([mounted]))
    try:
        await followed(browser, "/ops/jobs/", "/ops/jobs/")
        response = await browser.send("/ops/jobs/do/queue", {"queue": "a/b", "verb": "pause", "back": "queues"})
        assert response.headers["location"] == "../queues?did=queue.pause&n=1"
    finally:
        await browser.client.aclose()


def _handler(board: Dashboard) -> Any:
    async def jobs(scope: Any, receive: Any, send: Any) -> None:
        await board(scope, receive, send)

    return jobs


class Stripped:
    """A proxy that takes its prefix away and says nothing about it."""

    def __init__(self, app: Any, prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["path"].startswith(self._prefix)
        path = scope["path"].removeprefix(self._prefix) or "/"
        inner = {**scope, "path": path, "raw_path": path.encode()}
        await self._app(inner, receive, send)


async def test_every_link_is_right_behind_a_proxy_that_strips_a_prefix(engine: AsyncEngine, board: Dashboard) -> None:
    await job(engine)
    browser = Browser(Stripped(board, "/secret/path"))
    try:
        await followed(browser, "/secret/path/", "/secret/path/")
    finally:
        await browser.client.aclose()


@contextmanager
def loop_in_thread() -> Generator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        asyncio.run_coroutine_threadsafe(loop.shutdown_asyncgens(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def test_it_works_in_flask_through_an_adapter(engine: AsyncEngine) -> None:
    await job(engine)
    app = dashboard(engine, authorize=Access.ALL)
    flask = Flask("shop")

    def home(environ: WSGIEnvironment, start: StartResponse) -> Any:
        return flask.wsgi_app(environ, start)

    with loop_in_thread() as loop:
        adapted: Any = ASGIMiddleware(cast(Any, app), loop=loop)
        wsgi: Any = DispatcherMiddleware(home, {"/ops/jobs": adapted})
        transport = httpx.WSGITransport(app=wsgi)

        def ask() -> list[tuple[int, str]]:
            with httpx.Client(transport=transport, base_url="http://test") as client:
                answers = [client.get(f"/ops/jobs/{page}") for page in ("", "jobs", "queue?name=a%2Fb", "job/x")]
                answers.append(client.get("/ops/jobs"))
                return [(answer.status_code, answer.headers.get("location", "")) for answer in answers]

        answers = await asyncio.to_thread(ask)
        assert answers == [(200, ""), (200, ""), (200, ""), (404, ""), (307, "./jobs/")]
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(app.aclose(), loop))
