"""``oban-sqla flows``: list, show as a tree, cancel, retry."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from click.testing import CliRunner
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import Workflow
from oban_sqla.cli import main
from tests.flows.test_workflows import commit, fetch, note, parse


async def run(engine: AsyncEngine, *arguments: str) -> tuple[int, str]:
    url = engine.url.render_as_string(hide_password=False)

    def call() -> Any:
        return CliRunner().invoke(main, ["flows", *arguments, "--database-url", url])

    result = await asyncio.to_thread(call)
    return result.exit_code, result.output


async def test_a_workflow_is_listed_shown_cancelled_and_retried(engine: AsyncEngine) -> None:
    flow, inner = Workflow("pages"), Workflow("inner")
    pages = flow.add(fetch.new("u"), name="pages")
    flow.map(parse.new, over=pages.result, name="parts")
    inner.add(note.new(), name="one")
    flow.add(inner, name="sub", after=[pages])
    await commit(engine, flow)
    code, said = await run(engine, "list")
    assert (code, "pages" in said, "executing" in said, "1 available, 1 suspended" in said) == (0, True, True, True)
    code, said = await run(engine, "show", str(flow.id))
    assert code == 0
    assert [line.partition(" (")[0] for line in said.splitlines()] == [
        f"workflow {flow.id} 'pages': executing",
        "├─ · pages",
        "├─ · parts",
        "└─ ▶ sub",
        "   └─ · one",
    ]
    assert "after pages" in said
    _, text = await run(engine, "show", str(flow.id), "--json")
    assert [node["name"] for node in json.loads(text)["nodes"]] == ["pages", "parts", "sub"]
    assert await run(engine, "cancel", str(flow.id)) == (0, "3 jobs are cancelled, or asked to stop\n")
    assert await run(engine, "retry", str(flow.id)) == (0, "3 jobs are waiting for their turn\n")
    code, said = await run(engine, "show", "999999999")
    assert (code, said) == (1, "Error: there is no workflow 999999999\n")
