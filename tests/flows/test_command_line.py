"""``oban-sqla flows``: list, show as a tree, cancel, retry, signal."""

from __future__ import annotations

import asyncio
import json
import time
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, event, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from oban_sqla import InvalidOption, Job, Oban, Workflow, flow_of
from oban_sqla.cli import main
from oban_sqla.control.audit import operator
from oban_sqla.insight.flows import tree
from tests.flows.test_workflows import QUEUE, commit, fetch, note, parse
from tests.support import eventually


async def run(engine: AsyncEngine, *arguments: str, group: str | None = "flows") -> tuple[int, str]:
    url = engine.url.render_as_string(hide_password=False)

    def call() -> Any:
        given = [*arguments] if group is None else [group, *arguments]
        return CliRunner().invoke(main, [*given, "--database-url", url])

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
    _, shown = await run(engine, "show", str(flow.id), "--json")
    assert [node["name"] for node in json.loads(shown)["nodes"]] == ["pages", "parts", "sub"]
    assert await run(engine, "cancel", str(flow.id)) == (0, "3 jobs are cancelled, or asked to stop\n")
    assert await run(engine, "retry", str(flow.id)) == (0, "3 jobs are waiting for their turn\n")
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE oban_jobs SET state = 'retryable' WHERE id = :id"), {"id": pages.id})
    assert await run(engine, "retry", str(flow.id)) == (
        0,
        "0 jobs are waiting for their turn\n"
        f"to run now what waits for its next attempt: `oban-sqla jobs retry {pages.id}`\n",
    )
    code, said = await run(engine, "show", "999999999")
    assert (code, said) == (1, "Error: there is no workflow 999999999\n")


@pytest.mark.parametrize("options", [[], ["--json"]])
async def test_a_workflow_is_watched_until_it_has_finished(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    looks: list[float] = []

    def pause(seconds: float) -> None:
        looks.append(seconds)
        time.sleep(0.01)

    monkeypatch.setattr(import_module("oban_sqla.cli.flows"), "time", SimpleNamespace(sleep=pause))
    flow = Workflow("watched")
    flow.add(note.new(), name="one")
    await commit(engine, flow)
    watching = asyncio.create_task(run(engine, "show", str(flow.id), "--watch", *options))
    await eventually(lambda: looks)
    async with Oban(engine, queues={QUEUE: 1}):
        code, said = await watching
    assert code == 0
    if options:
        assert json.loads(said)["state"] == "completed"
    else:
        assert said.index("'watched': executing") < said.index("'watched': completed")


async def test_a_workflow_that_is_deleted_while_it_is_read_is_gone(engine: AsyncEngine, sync_engine: Engine) -> None:
    flow = Workflow("gone")
    flow.add(note.new(), name="one")
    await commit(engine, flow)
    assert flow.id is not None
    async with engine.connect() as connection:

        def delete(*_: object) -> None:
            with sync_engine.begin() as another:
                another.execute(text("DELETE FROM oban_jobs"))
                another.execute(text("DELETE FROM oban_workflows"))

        event.listen(connection.sync_connection, "after_cursor_execute", delete, once=True)
        assert await connection.run_sync(tree, flow.id) is None


async def test_a_signal_that_reaches_no_job_says_which_part_is_wrong(engine: AsyncEngine) -> None:
    flow, inner = Workflow("signalled"), Workflow("inner")
    node = flow.add(note.new(), name="done")
    inner.add(note.new(), name="one")
    flow.add(inner, name="sub")
    await commit(engine, flow)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE oban_jobs SET state = 'completed' WHERE id = :id"), {"id": node.id})
    said = [(await run(engine, "signal", str(of), name, "go"))[1] for of, name in (
        (999_999_999, "done"), (flow.id, "dnoe"), (flow.id, "sub"), (flow.id, "done"), (flow.id, "one"),
    )]  # fmt: skip
    missing = f"has no node 'one'; workflow {inner.id}, which is inside it, has one"
    assert said == [
        "Error: there is no workflow 999999999\n",
        f"Error: workflow {flow.id} has no node 'dnoe'; `oban-sqla flows show {flow.id}` lists them\n",
        f"Error: node 'sub' is a workflow; send it to one of its nodes: `oban-sqla flows show {inner.id}` lists them\n",
        f"Error: node 'done' (job {node.id}) has finished; nothing was sent\n",
        f"Error: workflow {flow.id} {missing}; `oban-sqla flows show {flow.id}` lists them\n",
    ]
    assert await run(engine, "retry", str(flow.id), "--from-node", "one") == (
        1,
        f"Error: retry: <Workflow 'signalled' id={flow.id}> {missing}\n",
    )
    async with AsyncSession(engine) as session:
        running = flow_of(await session.get_one(Job, node.id))
        with pytest.raises(InvalidOption, match=f"append: the workflow {flow.id} {missing}"):
            await running.append(note.new(), name="more", after=["one"], session=session)


async def test_what_is_changed_or_sent_from_the_command_line_is_in_the_audit(engine: AsyncEngine) -> None:
    flow = Workflow("approved")
    node = flow.add(note.new(), name="one")
    await commit(engine, flow)
    await run(engine, "signal", str(flow.id), "one", "approved", '{"by": "ann"}')
    await run(engine, "signal", str(flow.id), "two", "approved")
    await run(engine, "jobs", "signal", str(node.id), "approved", "7", group=None)
    await run(engine, "cancel", str(flow.id))
    await run(engine, "retry", str(flow.id), "--from-node", "one")
    async with engine.connect() as connection:
        rows = await connection.execute(text("SELECT verb, target, jobs, via, who FROM oban_audit ORDER BY id"))
        found = [tuple(row) for row in rows]
    assert [row[:3] for row in found] == [
        ("signal", {"ids": [node.id], "signal": "approved"}, 1),
        ("signal", {"ids": [node.id], "signal": "approved"}, 1),
        ("flow.cancel", {"workflow": flow.id}, 1),
        ("flow.retry", {"workflow": flow.id, "node": "one"}, 1),
    ]
    assert {row[3:] for row in found} == {("cli", operator().who)}
