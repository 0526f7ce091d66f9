"""What a page does while it is watched: it refreshes, rests, and says when it is not answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.responses import HTMLResponse, RedirectResponse
from starlette.types import ASGIApp

from oban_sqla.web import Access, ask, dashboard
from oban_sqla.web.instance import Place
from tests.chromium import Page, chromium, program
from tests.runtime.helpers import execute
from tests.web.conftest import insert
from tests.web.people import served

EVERY = 0.1
COUNT = """
window.asked = 0; window.ended = 0;
document.body.addEventListener("htmx:before:request", () => { window.asked += 1; });
document.body.addEventListener("htmx:finally:request", () => { window.ended += 1; });
true"""
LOST = "document.querySelector('[data-lost]').textContent"
WORD = "document.querySelector('[data-word]').textContent"
MAIN = "document.querySelector('main').textContent"
pytestmark = pytest.mark.skipif(program() is None, reason="there is no Chromium")


class Door:
    """The dashboard behind something that answers in its place, when told to."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.instead: ASGIApp | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        login = HTMLResponse("<h1>Log in</h1>") if scope["path"] == "/login" else None
        await (login or self.instead or self.app)(scope, receive, send)


@asynccontextmanager
async def watched(engine: AsyncEngine) -> AsyncGenerator[tuple[Page, Door, str]]:
    """A browser, what stands before the dashboard, and where."""
    app = dashboard(engine, authorize=Access.ALL)
    door = Door(app)
    try:
        async with served(door) as base, chromium() as browser:
            page = await browser.page()
            await page.look()
            yield page, door, base
    finally:
        await app.aclose()


async def anew(_place: Place, _key: object, make: Callable[[], Awaitable[Any]], _seconds: float = 0.0) -> Any:
    """What no other browser shares."""
    return await make()


async def rests(page: Page) -> bool:
    """Whether no request begins in the time of several refreshes."""
    before = await page.evaluate("window.asked")
    return bool(await page.evaluate("new Promise((done) => setTimeout(() => done(window.asked), 250))") == before)


async def test_a_page_that_is_watched(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refreshed, rests when it should, and says when it is not answered."""
    ids = await insert(engine, *[{"state": "available", "worker": "app.w"}] * 3)
    for path in ("jobs", f"job/{ids[2]}"):
        monkeypatch.setitem(ask.REFRESH, path, EVERY)
    monkeypatch.setattr(Place, "answer", anew)
    async with watched(engine) as (page, door, base):
        await page.goto(f"{base}/jobs?did=retry&n=2")
        await page.evaluate(COUNT)
        assert "2 jobs were made available" in await page.evaluate(MAIN)
        assert await page.evaluate("location.search") == "", "what was done is said once"
        await it_goes_back(page, ids)
        await page.evaluate(COUNT)
        await it_rests(engine, page, ids)
        assert page.complaints == []
        await page.goto(f"{base}/job/{ids[2]}")
        await it_is_not_answered(engine, page, door, ids[2])


async def test_a_job_that_is_chosen_before_the_answer(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stays chosen, although the answer no longer lists it."""
    ids = await insert(engine, *[{"state": "available", "worker": "app.w"}] * 2)
    monkeypatch.setitem(ask.REFRESH, "jobs", EVERY)
    monkeypatch.setattr(Place, "answer", anew)
    async with watched(engine) as (page, door, base):
        await page.goto(f"{base}/jobs?state=available")
        await page.evaluate(COUNT)
        asked, may_answer = asyncio.Event(), asyncio.Event()

        async def late(*request: Any) -> None:
            asked.set()
            await may_answer.wait()
            await door.app(*request)

        door.instead = late
        try:
            await asked.wait()
            await execute(engine, f"DELETE FROM oban_jobs WHERE id = {ids[0]}")
            await page.press(f"#job-{ids[0]} input")
            before = await page.evaluate("window.ended")
        finally:
            may_answer.set()  # or the server would not end
        await page.until(f"window.ended > {before}")
        assert await page.evaluate(f"document.querySelector('#job-{ids[0]} input')?.checked")
        await page.press(f"#job-{ids[0]} input")
        await page.until(f"!document.getElementById('job-{ids[0]}')")


async def it_goes_back(page: Page, ids: list[int]) -> None:
    """Past a form that was sent, which a browser would ask whether to send again."""
    for leave in ("[data-back]", "form.fields button"):
        await page.press(f"#job-{ids[1]} input")
        await page.press(f"#job-{ids[2]} input")
        await page.click("[value=retry]")
        assert "Run again now 2 jobs?" in await page.evaluate(MAIN)
        await page.click(leave)
        assert await page.evaluate("location.pathname") == "/jobs"
    await page.back()
    assert "app.w" in await page.evaluate(MAIN)
    assert "Run again now" not in await page.evaluate(MAIN)
    assert await page.evaluate("location.pathname") == "/jobs"


async def it_rests(engine: AsyncEngine, page: Page, ids: list[int]) -> None:
    """On a click, while a job is chosen, and in a tab that is hidden."""
    await page.fill("[data-search]", "queue:ma")
    await insert(engine, {"state": "available", "worker": "app.new"})
    await page.until(f"{MAIN}.includes('app.new')")
    assert await page.evaluate("document.activeElement.value") == "queue:ma", "what is typed stays"
    await page.until("document.querySelector('.menu a[aria-current] .count').textContent === '4'")
    for button in ("[data-live]", f"#job-{ids[0]} input"):
        await page.press(button)
        await page.until(f"{WORD} === 'Held'")
        assert await rests(page), button
        await page.press(button)
        await page.until(f"{WORD} === 'Live'")
    await page.evaluate("Object.defineProperty(document, 'hidden', {get: () => window.away}); window.away = true")
    assert await rests(page)
    await page.evaluate("window.away = false; window.asked = 0")
    await page.until("window.asked > 0")


async def it_is_not_answered(engine: AsyncEngine, page: Page, door: Door, id: int) -> None:
    """What is shown stays until there is an answer; that the job is gone is one."""
    for answer in (
        HTMLResponse("<h1>502 Bad Gateway</h1>", status_code=502),
        HTMLResponse("You may not see this dashboard.", status_code=403),
        RedirectResponse("/login", status_code=302),
    ):
        door.instead = answer
        await page.until(f"{LOST}.startsWith('No answer since ')")
        assert "app.w" in await page.evaluate(MAIN)
        door.instead = None
        await page.until(f"{LOST} === ''")
    await execute(engine, f"DELETE FROM oban_jobs WHERE id = {id}")
    await page.until(f"{MAIN}.includes('There is no job {id}')")
    assert await page.evaluate("document.querySelectorAll('main, .menu').length") == 2, "it is no page in a page"
    values = f"OVERRIDING SYSTEM VALUE VALUES ({id}, 'app.back', 'suspended')"
    await execute(engine, f"INSERT INTO oban_jobs (id, worker, state) {values}")
    await page.until(f"{MAIN}.includes('app.back')")
