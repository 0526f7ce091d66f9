"""What axe-core finds on the pages: faults that keep people from reading or operating them."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from oban_sqla import JobSpec, Oban, Workflow, job
from oban_sqla.web import dashboard
from tests.chromium import Page, chromium, program
from tests.web.conftest import may_do_everything
from tests.web.people import served
from tests.web.test_pages import PAGES

RUN = """
axe.run(document, {resultTypes: ["violations"]}).then((told) => JSON.stringify(
  told.violations.map((one) => [one.impact, one.id, one.help, one.nodes.map((node) => node.html)])))
"""


@job(queue="accessible")
async def part(n: int) -> int:
    return n


@pytest.mark.skipif(program() is None, reason="there is no Chromium")
async def test_axe_finds_nothing_on_any_page_in_both_themes_and_on_a_phone(engine: AsyncEngine, ids: list[int]) -> None:
    flow = Workflow("order")
    flow.add(part.new(2), after=[flow.add(part.new(1), name="first")], name="second")
    async with AsyncSession(engine) as session, session.begin():
        session.add(flow)
    await Oban(engine).crons.put("nightly", "0 3 * * *", JobSpec("app.report"))
    paths = [*PAGES, "flows", f"flow/{flow.id}", "queue?name=mail", f"edit/{ids[0]}", "jobs?args.never=1", "missing"]
    paths += [f"job/{ids[place]}" for place in (0, 3, 5, 9)]  # available, executing, discarded, suspended
    app = dashboard(engine, authorize=may_do_everything)
    found: list[Any] = []
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
            await page.evaluate("document.body.append(document.createElement('button')); true")
            assert [one[1] for one in await violations(page)] == ["button-name"], "it finds what is there"
    finally:
        await app.aclose()
    assert found == []


async def violations(page: Page) -> list[Any]:
    """The impact, rule, words and elements of each."""
    told: list[Any] = json.loads(await page.evaluate(RUN))
    return told
