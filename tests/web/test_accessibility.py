"""What keeps people from reading or operating the pages: what axe-core finds, and what leaves its place."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from oban_sqla import JobSpec, Oban, Workflow, job
from oban_sqla.web import dashboard
from tests.chromium import Page, chromium, program
from tests.web.conftest import insert, may_do_everything
from tests.web.people import served
from tests.web.test_pages import PAGES

RUN = """
axe.run(document, {resultTypes: ["violations"]}).then((told) => JSON.stringify(
  told.violations.map((one) => [one.impact, one.id, one.help, one.nodes.map((node) => node.html)])))
"""


NODE = "ip-10-0-100-190.eu-central-1.compute.internal-" + "n" * 60
NAME = "x" * 120
OUTSIDE = """(() => {
  const phone = document.documentElement.clientWidth < 760, found = [];
  const boxes = "body, .scroll, .facets, .facets a, .why, .bar, .bar nav, dd, .notices li, .findings li";
  for (const one of document.querySelectorAll(boxes))
    if (one.scrollWidth > one.clientWidth + 1 && !(phone && one.closest(".facets, .scroll:not(:has(.rows))")))
      found.push(`${one.tagName}.${one.className} ${one.scrollWidth} > ${one.clientWidth}`);
  return found;
})()"""
"""The boxes whose contents are wider than they are; on a phone some are scrolled sideways."""

MOVED = """(() => {
  const line = document.createElement("p"), behind = document.createRange();
  line.innerHTML = "<a>\u05d0\u05d1\u05d2</a> 12 jobs wait";
  document.querySelector("main").append(line);
  behind.setStart(line.lastChild, 1);
  behind.setEnd(line.lastChild, 3);
  return behind.getBoundingClientRect().left < line.firstChild.getBoundingClientRect().right;
})()"""
"""Whether a number behind a name that is written from right to left stands before it."""


@job(queue="accessible")
async def part(n: int) -> int:
    return n


@pytest.mark.skipif(program() is None, reason="there is no Chromium")
async def test_axe_finds_nothing_and_long_names_leave_no_place_in_both_themes_and_on_a_phone(
    engine: AsyncEngine, ids: list[int]
) -> None:
    flow, single = Workflow("order"), Workflow(NAME)
    flow.add(part.new(2), after=[flow.add(part.new(1), name="first")], name="second")
    single.add(part.new(3), name=NAME)
    async with AsyncSession(engine) as session, session.begin():
        session.add_all([flow, single])
    await Oban(engine).crons.put("nightly", "0 3 * * *", JobSpec("app.report"))
    await Oban(engine).crons.put(NAME, "0 9 * * MON-FRI", JobSpec(NAME))
    long = await insert_long(engine)
    paths = [
        *PAGES,
        "flows",
        f"flow/{flow.id}",
        "queue?name=mail",
        "queue?name=accessible",
        f"edit/{ids[0]}",
        "jobs?args.never=1",
        "missing",
    ]
    paths += [f"job/{ids[place]}" for place in (0, 3, 5, 9)]  # available, executing, discarded, suspended
    app = dashboard(engine, authorize=may_do_everything)
    paths += [f"flow/{single.id}", f"job/{long}"]
    found: list[Any] = []
    outside: list[Any] = []
    try:
        async with served(app) as base, chromium() as browser:
            page = await browser.page()
            for path in paths:
                await page.goto(f"{base}/{path}")
                await page.evaluate(f"{files('axe_core_python').joinpath('axe.min.js').read_text()}; true")
                phone = [("light", 400)] if path in ("", "jobs", f"job/{ids[0]}") else []
                for theme, width in (("light", 1440), ("dark", 1440), *phone):
                    await page.look(theme=theme, width=width)
                    found += [(path, theme, width, *one) for one in await violations(page)]
                for width in (1280, 390):
                    await page.look(width=width)
                    outside += [(path, width, one) for one in await page.evaluate(OUTSIDE)]
            await page.evaluate("document.body.append(document.createElement('button')); true")
            assert [one[1] for one in await violations(page)] == ["button-name"], "it finds what is there"
            assert not await page.evaluate(MOVED)
            await page.goto(f"{base}/flow/{single.id}")
            drawn = await page.evaluate("document.querySelector('.graph .box').getBoundingClientRect().width")
    finally:
        await app.aclose()
    assert found == []
    assert outside == []
    assert round(drawn) == 160, "a graph of one node is not blown up to the width of the page"


@pytest.mark.skipif(program() is None, reason="there is no Chromium")
async def test_the_arguments_of_a_job_are_copied_by_a_button(engine: AsyncEngine, ids: list[int]) -> None:
    app = dashboard(engine, authorize=may_do_everything)
    try:
        async with served(app) as base, chromium() as browser:
            page = await browser.page()
            await page.goto(f"{base}/job/{ids[0]}")
            await page.evaluate("navigator.clipboard.writeText = async (text) => { window.copied = text; }; true")
            await page.press("[data-copy='args-text']")
            assert json.loads(await page.until("window.copied")) == {"user_id": 7}
            await page.until("document.querySelector('[data-copy]').textContent === 'Copied'")
    finally:
        await app.aclose()


async def insert_long(engine: AsyncEngine) -> int:
    """A node, a queue, a change and a job whose names are long. Returns the id of the job."""
    async with engine.begin() as connection:
        await connection.execute(
            text("""
                INSERT INTO oban_producers (uuid, name, node, queue, meta)
                VALUES (gen_random_uuid(), 'Oban', :node, 'accessible', '{"local_limit": 1, "stale_after": 86400}')
            """),
            {"node": NODE},
        )
        await connection.execute(
            text("INSERT INTO oban_audit (who, via, verb, target, reason) VALUES (:name, 'web', 'retry', '{}', :name)"),
            {"name": NAME},
        )
    await insert(engine, {"state": "available", "worker": "app.w", "queue": f"tenant-{NAME}"})
    failed = {"state": "discarded", "attempt": 3, "max_attempts": 3, "attempted_by": [NODE, "u"], "error": NAME}
    [id] = await insert(engine, failed | {"worker": NAME, "queue": NAME, "tags": [NAME]})
    return id


async def violations(page: Page) -> list[Any]:
    """The impact, rule, words and elements of each."""
    told: list[Any] = json.loads(await page.evaluate(RUN))
    return told
