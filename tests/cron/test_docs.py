"""What docs/cron.md and docs/pruning.md show runs."""

from __future__ import annotations

import ast
import inspect
import re
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import Oban
from oban_sqla.options.schedule import NICKNAMES
from oban_sqla.workers.registry import workers
from tests.processes import ROOT
from tests.runtime.helpers import until

EACH_HALF_MINUTE = "docs_cron.poll_mailbox"


@pytest.mark.parametrize("page", ["cron", "pruning"])
async def test_the_code_of_the_page_runs(page: str, engine: AsyncEngine) -> None:
    before = set(workers)
    names: dict[str, Any] = {"engine": engine, "__name__": f"docs_{page}"}
    try:
        for block in re.findall(r"^```python\n(.*?)^```$", _page(page), re.MULTILINE | re.DOTALL):
            code = compile(block, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            outcome = eval(code, names)
            if inspect.isawaitable(outcome):
                await outcome
        assert isinstance(names["oban"], Oban)
        async with names["oban"] as oban:
            found = {entry.name for entry in await oban.crons.all()}
            if page == "cron":
                await _a_job_of_each_half_minute_is_one_and_starts_anew(engine, oban)
        names_of_code = {"docs_cron.report", "docs_cron.close_the_day", "report of yesterday", EACH_HALF_MINUTE}
        assert page == "pruning" or found == names_of_code
    finally:
        workers.remove(set(workers) - before)


async def _a_job_of_each_half_minute_is_one_and_starts_anew(engine: AsyncEngine, oban: Oban) -> None:
    first = await oban.crons.run_now(EACH_HALF_MINUTE)
    assert first.id is not None
    await until(engine, first.id, "scheduled")
    assert (await oban.crons.run_now(EACH_HALF_MINUTE)).conflict
    assert await oban.cancel(first.id) == 1
    assert not (await oban.crons.run_now(EACH_HALF_MINUTE)).conflict


def test_the_table_of_nicknames_is_whole() -> None:
    rows = re.findall(r"^\| (`@.*?) \| `([^`]+)` \|$", _page("cron"), re.MULTILINE)
    told = {name: fields for names, fields in rows for name in re.findall(r"`(@\w+)`", names)}
    assert told == NICKNAMES


def _page(name: str) -> str:
    return (ROOT / f"docs/{name}.md").read_text()
