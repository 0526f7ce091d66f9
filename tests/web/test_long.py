"""Workflows, and what long jobs keep beside their rows."""

from __future__ import annotations

import json
import re

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from oban_sqla import Workflow, job
from oban_sqla.insight.drawing import laid_out
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
    assert f"order 7 {id} 0 of 4" in words(await browser.page("/flows"))
    assert "order 7" not in words(await browser.page("/flows?state=completed"))
    page = await browser.page(f"/flow/{id}")
    said = words(page)
    for name in ("load_order", "charge", "pack", "mails"):
        assert name in said
    assert "Done 0 of 4" in said
    assert "after charge" in said
    assert page.count('class="edge') == 3
    assert page.count('<rect class="box"') == 4
    assert (await browser.get("/flow/999999")).status_code == 404
    [first, *_] = await states(engine)
    assert f'href="../flow/{id}"' in await browser.page(f"/job/{first}")


async def test_a_workflow_says_of_each_node_what_it_does(engine: AsyncEngine, browser: Browser) -> None:
    id = await built(engine)
    async with engine.begin() as connection:
        for name, changed in (
            ("load_order", "state = 'completed', attempted_at = now() - interval '9 s', completed_at = now()"),
            ("charge", "state = 'retryable', attempt = 3, scheduled_at = now() + interval '2 h 30 s'"),
        ):
            sql = f"UPDATE oban_jobs SET {changed} WHERE node_name = '{name}' AND workflow_id = :id"
            await connection.execute(text("SET LOCAL timezone TO 'UTC'"))
            await connection.execute(text(sql), {"id": id})
    page = await browser.page(f"/flow/{id}")
    assert "load_order: completed, 9 s</title>" in page
    assert "charge: retryable, again in 2 h</title>" in page
    assert "pack: suspended, waits for 1</title>" in page
    assert 'aria-label="1 completed, 1 executing, 1 retryable, 1 suspended"' in page
    said = words(page)
    assert "Done 1 of 4" in said
    assert "3 of 20 again in 2 h" in said


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


class Row:
    """A node as the database gives it."""

    def __init__(self, name: str) -> None:
        self.name, self.worker, self.state, self.attempt, self.max_attempts = name, "w", "suspended", 0, 20
        self.due_at = self.attempted_at = self.ended_at = None


def test_a_line_passes_no_node_that_it_does_not_belong_to() -> None:
    before: dict[int, list[int]] = {1: [], 2: [1], 3: [2], 4: [2], 5: [2], 6: [1, 3, 4, 5]}
    graph = laid_out({id: Row(str(id)) for id in before}, before)
    passing = [(int(x), int(y)) for edge in graph.edges for x, y in re.findall(r"(\d+) (\d+) h", edge.path)]
    assert len(passing) == 2, "the line from 1 to 6 passes two columns"
    for x, y in passing:
        assert {box.x for box in graph.boxes} >= {x}
        assert not [box.name for box in graph.boxes if box.x == x and box.y - 4 <= y <= box.y + 34 + 4]


def test_a_graph_that_is_higher_than_a_screen_begins_at_its_top() -> None:
    before: dict[int, list[int]] = {1: []} | {id: [1] for id in range(2, 42)}
    graph = laid_out({id: Row(str(id)) for id in before}, before)
    assert graph.height > 1_000
    assert graph.boxes[0].y == graph.boxes[1].y < 20


def test_a_graph_with_too_many_lines_to_bend_them_is_drawn_all_the_same() -> None:
    before = {id: list(range(1, id)) for id in range(1, 61)}
    graph = laid_out({id: Row(str(id)) for id in before}, before)
    assert len(graph.edges) == 60 * 59 // 2
    assert not [edge for edge in graph.edges if " h" in edge.path]
    assert graph.height < 100


def test_every_node_is_right_of_all_that_it_waits_for() -> None:
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
            "INSERT INTO oban_steps (job_id, name, kind, until) VALUES (:id, 'wait:a:1', 'wait', '2020-01-01')",
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
    assert "wait, due " in words(page)
    assert "Events 1 event, UTC" in words(page)
    assert "Log 1 line, UTC" in words(page)
    assert "gAAAA" not in page
