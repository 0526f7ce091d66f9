"""The code of the page on progress, events and logs runs as it stands."""

from __future__ import annotations

import ast
import inspect
import logging
import re
import types
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from tests.processes import ROOT

PAGE = ROOT / "docs/progress-and-events.md"


async def test_the_page_runs(engine: AsyncEngine) -> None:
    source = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL))
    code = compile(source, str(PAGE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    names: dict[str, Any] = {"__name__": "page_on_progress", "engine": engine}
    logger = logging.getLogger("app.jobs")
    level = logger.level
    try:
        ended = types.FunctionType(code, names)()
        if inspect.isawaitable(ended):
            await ended
    finally:
        logger.setLevel(level)
    assert names["tokens"][-1] == (5, "row.")
