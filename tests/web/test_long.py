"""Workflows, and what long jobs keep beside their rows."""

from __future__ import annotations

import json

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from oban_sqla import Workflow, job
from oban_sqla.insight.graphs import laid_out
from tests.web.conftest import Browser, audit, insert, states, words


@job
async def load_order(id: int) -> int:
    return id


@job
async def charge(id: int) -> int:
    return id


@job
async def pack() -> None: ...


async def built(engine: AsyncEngine) -> int:
    """A workflow of three jobs and a part."""
    flow = Workflow("order 7")
    first = flow.add(load_order.new(7))
    second = flow.add(charge.new(first.result))
    flow.add(pack.new(), after=[second])
    part = Workflow("mails")
    part.add(pack.new(), name="mail")
    flow.add(part, after=[first])
    async with AsyncSession(engine) as session, session.begin():
        session.add(flow)
    assert flow.id is not None
    return flow.id


async def test_a_workflow_is_a_graph_and_a_list(engine: AsyncEngine, browser: Browser) -> None:
    id = await built(engine)
    assert "order 7" in words(await browser.page("/flows"))
    assert "order 7" not in words(await browser.page("/flows?state=completed"))
    page = await browser.page(f"/flow/{id}")
    said = words(page)
    for name in ("load_order", "charge", "pack", "mails"):
        assert name in said
    assert "after charge" in said
    assert page.count('class="edge') == 3
    assert page.count('<rect class="box"') == 4
    assert (await browser.get("/flow/999999")).status_code == 404
    [first, *_] = await states(engine)
    assert f'href="../flow/{id}"' in await browser.page(f"/job/{first}")


async def test_a_workflow_is_cancelled_retried_and_deleted_as_a_whole(engine: AsyncEngine, browser: Browser) -> None:
    id = await built(engine)
    for verb in ("cancel", "retry", "cancel", "delete"):
        response = await browser.send("/do/flow", {"id": id, "verb": verb, "step": "do"})
        assert response.status_code == 303, words(response.text)
        found = set((await states(engine)).values())
        if verb == "retry":
            assert "suspended" in found
            assert "cancelled" not in found
        else:
            assert found == ({"cancelled"} if verb == "cancel" else set())
    rows = await audit(engine)
    assert [row.verb for row in rows] == ["flow.cancel", "flow.retry", "flow.cancel", "flow.delete"]
    assert all(row.target["workflow"] == id for row in rows)


def test_every_node_is_right_of_all_that_it_waits_for() -> None:
    class Row:
        def __init__(self, name: str) -> None:
            self.name, self.worker, self.state, self.attempt = name, "w", "suspended", 0

    before: dict[int, list[int]] = {1: [], 2: [1], 3: [1, 2], 4: [], 5: [3, 4], 6: [6]}
    graph = laid_out({id: Row(str(id)) for id in before}, before)
    place = {box.id: (box.x, box.y) for box in graph.boxes}
    assert all(place[id][0] > place[one][0] for id, ids in before.items() for one in ids if one != id)
    assert len(set(place.values())) == len(place), "none lies over another"
    assert all(0 <= x < graph.width and 0 <= y < graph.height for x, y in place.values())


async def test_a_job_shows_its_steps_signals_progress_events_and_log(engine: AsyncEngine, browser: Browser) -> None:
    [id] = await insert(engine, {"state": "executing", "worker": "app.long", "attempt": 1})
    token = json.dumps({"encrypted": "gAAAAABhidden"})
    line = json.dumps({"level": "INFO", "message": "a line"})
    async with engine.begin() as connection:
        for sql in (
            "INSERT INTO oban_steps (job_id, name, kind, value) VALUES (:id, 'charge', 'step', '41')",
            "INSERT INTO oban_steps (job_id, name, kind, value) VALUES (:id, 'sealed', 'step', CAST(:token AS jsonb))",
            "INSERT INTO oban_signals (job_id, name, payload) VALUES (:id, 'approved', '\"by anna\"')",
            "INSERT INTO oban_progress (job_id, done, total, note) VALUES (:id, 3, 12, 'third page')",
            "INSERT INTO oban_events (job_id, kind, n, value) VALUES (:id, 0, 1, '\"an event\"')",
            "INSERT INTO oban_events (job_id, kind, n, value) VALUES (:id, 1, 1, CAST(:line AS jsonb))",
        ):
            given = {"id": id, "token": token, "line": line}
            used = {name: value for name, value in given.items() if f":{name}" in sql}
            await connection.execute(text(sql), used)
    page = await browser.page(f"/job/{id}")
    for said in ("charge", "41", "approved", "by anna", "third page", "25 percent done", "an event", "a line"):
        assert said in page
    assert "gAAAA" not in page
