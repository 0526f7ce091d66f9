"""What many browsers cost, and what a page may read."""

from __future__ import annotations

import asyncio
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla.insight.search import Search, search
from oban_sqla.statements import glance
from oban_sqla.web import Access, dashboard
from oban_sqla.web.instance import CONNECTIONS, Place
from tests.runtime.helpers import execute
from tests.support import eventually
from tests.web.conftest import Browser, insert, opened


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("path", "seconds"),
    [("/", 2.0), ("/jobs", 2.0), ("/queues", 2.0), ("/queue?name=mail", 2.0), ("/failures", 10.0), ("/crons", 5.0),
     ("/nodes", 5.0)],
)  # fmt: skip
async def test_ten_browsers_whose_refreshes_fall_apart_cost_hardly_more_than_one(
    engine: AsyncEngine, ids: list[int], path: str, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each refreshes after so many seconds, a tenth of them after the one before."""
    clock = Clock()
    monkeypatch.setattr("oban_sqla.web.instance.time", clock)

    async def cost(browsers: int) -> int:
        app = dashboard(engine, authorize=Access.READ)
        place = await next(iter(app._instances.values())).here()
        statements: list[str] = []
        event.listen(place.engine.sync_engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
        browser = Browser(app)
        for tick in range(8):
            for number in range(browsers):
                clock.now = 1_000.0 + seconds * (tick + number / 10)
                response = await browser.get(path, **{"hx-request": "true"})
                assert response.status_code == 200
        clock.now += 1_000.0
        await browser.client.aclose()
        await app.aclose()
        return len(statements)

    alone = await cost(1)
    assert alone > 0
    assert await cost(10) <= 1.2 * alone


@pytest.mark.parametrize("path", ["/", "/jobs"])
async def test_ten_browsers_cost_hardly_more_statements_than_one(
    engine: AsyncEngine, ids: list[int], path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cost(browsers: int) -> int:
        app = dashboard(engine, authorize=Access.READ)
        place = await next(iter(app._instances.values())).here()
        statements: list[str] = []
        event.listen(place.engine.sync_engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
        every = [Browser(app) for _ in range(browsers)]
        for _ in range(3):
            place.forget()  # a tick later
            await asyncio.gather(*(one.get(path, **{"hx-request": "true"}) for one in every))
        for one in every:
            await one.client.aclose()
        await app.aclose()
        return len(statements)

    still = SimpleNamespace(monotonic=lambda: 0.0)  # however slow the machine is, a tick is a moment
    monkeypatch.setattr("oban_sqla.web.instance.time", still)
    alone = await cost(1)
    assert alone > 0
    assert await cost(10) <= 1.2 * alone


async def test_the_page_of_the_queues_asks_as_much_for_thirty_of_them_as_for_one(engine: AsyncEngine) -> None:
    async def cost() -> int:
        async with opened(engine) as browser:
            place = await next(iter(browser.app._instances.values())).here()
            asked: list[str] = []
            event.listen(place.engine.sync_engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
            assert "queue 0" in await browser.page("/queues")
            return len(asked)

    job = {"state": "available", "worker": "app.w"}
    await insert(engine, job | {"queue": "queue 0"})
    one = await cost()
    await insert(engine, *(job | {"queue": f"queue {n}"} for n in range(1, 30)))
    assert await cost() == one


async def test_it_never_has_more_than_three_connections_and_none_of_the_applications(
    engine: AsyncEngine, ids: list[int]
) -> None:
    app = dashboard(engine, authorize=Access.READ)
    place = await next(iter(app._instances.values())).here()
    assert place.engine.sync_engine.pool is not engine.sync_engine.pool
    most, now = 0, 0

    def out(*_: Any) -> None:
        nonlocal most, now
        now += 1
        most = max(most, now)

    def back(*_: Any) -> None:
        nonlocal now
        now -= 1

    event.listen(place.engine.sync_engine, "checkout", out)
    event.listen(place.engine.sync_engine, "checkin", back)
    browser = Browser(app)
    paths = ["/", "/jobs", "/queues", "/failures", "/nodes", "/audit", "/crons", *(f"/job/{id}" for id in ids)]
    await asyncio.gather(*(browser.get(path) for path in paths))
    await browser.client.aclose()
    await app.aclose()
    assert 0 < most <= CONNECTIONS


async def test_connections_are_closed_when_the_event_loop_ends(engine: AsyncEngine) -> None:
    app = dashboard(engine, authorize=Access.READ)
    loop_ends: list[int] = []

    async def look() -> None:
        browser = Browser(app)
        assert (await browser.get("/queues")).status_code == 200
        await browser.client.aclose()
        place = await next(iter(app._instances.values())).here()
        event.listen(place.engine.sync_engine, "close", lambda *_: loop_ends.append(1))

    await asyncio.to_thread(lambda: asyncio.run(look()))
    assert loop_ends


async def test_a_statement_that_takes_too_long_is_said_on_its_panel(
    engine: AsyncEngine, ids: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(connection: Any, *given: Any, **more: Any) -> Any:
        return connection.execute(text("SELECT pg_sleep(10)"))

    monkeypatch.setattr(import_module("oban_sqla.web.pages.jobs"), "search", slow)
    monkeypatch.setattr(Place.read, "__defaults__", (0.1,))
    async with opened(engine) as browser:
        assert "took longer than this page waits" in await browser.page("/jobs")


async def test_nothing_that_is_refreshed_reads_more_than_its_bound(engine: AsyncEngine) -> None:
    """Of 30,000 jobs in each of the crowded states no statement of a tick touches more than its windows."""
    async with engine.begin() as connection:
        await connection.execute(
            text("""
            INSERT INTO oban_jobs (state, worker, queue, completed_at, discarded_at, errors, scheduled_at)
            SELECT s::oban_job_state, 'app.w', 'q' || n % 3, timezone('UTC', now()), timezone('UTC', now()),
                   '[{"error": "boom"}]', timezone('UTC', now()) - n * interval '1 ms'
            FROM generate_series(1, 30000) n,
                 unnest(ARRAY['available', 'completed', 'discarded', 'retryable', 'scheduled']) s
            """)
        )
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text("ANALYZE oban_jobs"))
    bounds: list[tuple[Any, dict[str, Any], float]] = [
        (glance.states, {"most": 1_001}, 7_100),
        (glance.queues, {"most": 1_001}, 3_400),
        (glance.ended, {"seconds": 300.0, "most": 1_000}, 3_100),
        (glance.due, {"seconds": 3_600.0, "most": 1_000}, 2_100),
        (glance.failures, {"most": 1_000, "window": 2_000}, 6_100),
        (glance.running_by_node, {"most": 1_000}, 1_100),
        (glance.lately, {"worker": "app.none", "window": 2_000, "most": 100}, 2_100),
    ]
    async with engine.connect() as connection:
        for statement, given, most in bounds:
            rows = await connection.run_sync(_rows_read, statement, given)
            assert rows <= most, (statement, rows)


async def test_a_search_for_what_occurs_never_ends_in_time_and_says_how_far_it_looked(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oban_sqla.insight.search.FIRST_WINDOW", 100)
    monkeypatch.setattr("oban_sqla.insight.search.LARGEST_WINDOW", 100)
    await insert(engine, {"state": "available", "worker": "app.rare"})
    async with engine.begin() as connection:
        await connection.execute(text("INSERT INTO oban_jobs (worker) SELECT 'app.w' FROM generate_series(1, 1000)"))

    async with engine.connect() as connection:
        first = await connection.run_sync(search, Search(worker="app.rare"), 50, None, patience=0.0)
        assert (first.ids, first.looked) == ((), 100)
        place, found = first.more, first
        for _ in range(20):
            if place is None:
                break
            found = await connection.run_sync(search, Search(worker="app.rare"), 50, place, patience=0.0)
            place = found.more
        assert len(found.ids) == 1


def _rows_read(connection: Any, statement: Any, given: dict[str, Any]) -> float:
    """How many rows a statement takes from the table and its indexes."""
    glance.bounded_reads.execute(connection, limit="20s")
    values = {f"in_{name}": value for name, value in given.items()}
    sql = str(statement.core.params(**values).compile(
        dialect=connection.dialect, compile_kwargs={"literal_binds": True}))  # fmt: skip
    [plan] = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}").scalar_one()
    connection.rollback()
    return _scanned(plan["Plan"])


def _scanned(node: dict[str, Any]) -> float:
    own = 0.0
    if ("Scan" in node["Node Type"] and "Relation Name" in node) or node["Node Type"] == "Bitmap Index Scan":
        removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
        own = (node["Actual Rows"] + removed) * node["Actual Loops"]
    return own + sum(_scanned(inner) for inner in node.get("Plans", ()))


async def test_the_end_waits_for_what_is_being_read(engine: AsyncEngine) -> None:
    app = dashboard(engine, authorize=Access.ALL)
    [instance] = app._instances.values()
    place = await instance.here()
    lock = "SELECT pg_advisory_xact_lock(7)"
    waits = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = "
    waits += "(SELECT oid FROM pg_database WHERE datname = current_database())"
    async with engine.begin() as holder:
        await holder.exec_driver_sql(lock)
        read = place.read(lambda connection: connection.execute(text(lock)).scalar())
        reading = asyncio.create_task(place.answer("slow", lambda: read))
        await eventually(lambda: execute(engine, waits))
        closing = asyncio.create_task(app.aclose())
        await asyncio.sleep(0.05)
        assert not closing.done()
    await closing
    assert reading.done()
