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
        assert page == "pruning" or found == {"docs_cron.report", "docs_cron.close_the_day", "report of yesterday"}
    finally:
        workers.remove(set(workers) - before)


def test_the_table_of_nicknames_is_whole() -> None:
    rows = re.findall(r"^\| (`@.*?) \| `([^`]+)` \|$", _page("cron"), re.MULTILINE)
    told = {name: fields for names, fields in rows for name in re.findall(r"`(@\w+)`", names)}
    assert told == NICKNAMES


def _page(name: str) -> str:
    return (ROOT / f"docs/{name}.md").read_text()
