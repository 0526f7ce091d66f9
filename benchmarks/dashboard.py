"""``python -m benchmarks.dashboard [--jobs 2000000] [--fill | --filled]``: the dashboard over many jobs.

Fills the table (85 % completed, 8 % available, the rest in all other states; 8 queues, 40 workers, 400 tenants), and
prints a line for each page:

- the median of the milliseconds until a headless Chromium calls the page complete. A second lies between two of them,
  so what is shared for a second is read anew, and what is kept for longer is not. Without a Chromium it is the time
  from the request to the last byte;
- the first of them, when nothing had been read before;
- how many rows the largest of its statements takes from tables and indexes, and how many blocks, by EXPLAIN (ANALYZE,
  BUFFERS) of each statement in the transaction of the page.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, cast

import httpx
import uvicorn
from sqlalchemy import Connection, event

from benchmarks.setting import Setting, median, setting
from oban_sqla import Oban
from oban_sqla.web import Access, Dashboard, dashboard
from tests.chromium import chromium, program

LIMIT = 200.0
"""Milliseconds that a page may take at the median."""
MOST_ROWS = 250_000
"""Rows that a statement of a page may take: a search looks at 200,000, and everything else at much less."""
TIMES = 5
PAGES = (
    "", "?period=day", "jobs", "jobs?state=completed", "jobs?state=available", "jobs?state=available&queue=bulk",
    "jobs?args.tenant=17", "jobs?tag=tenant-17", "jobs?worker=app.worker_7&since=1h", "jobs?node=web-3",
    "jobs?worker=app.never", "jobs?args.never=1", "jobs?error=timeout", "jobs?state=discarded&error=never",
    "jobs?since=6h&queue=q3", "job/1000000", "job/1999999", "edit/1999993", "new", "queues", "queue?name=bulk",
    "flows", "flows?state=failed", "flow/1", "flow/5000", "failures", "crons", "nodes", "audit", "system",
)  # fmt: skip

FILL = """
INSERT INTO oban_jobs (state, queue, worker, args, tags, errors, attempt, attempted_by, inserted_at, scheduled_at,
                       attempted_at, completed_at, discarded_at, cancelled_at)
SELECT state::oban_job_state, CASE WHEN state = 'available' AND n % 8 > 0 THEN 'bulk' ELSE 'q' || n % 7 END,
       'app.worker_' || n % 40, jsonb_build_object('tenant', n % 400, 'n', n), ARRAY['tenant-' || n % 400],
       CASE WHEN state IN ('discarded', 'retryable') THEN jsonb_build_array(jsonb_build_object(
         'attempt', 1, 'at', at, 'error', repeat('  File "app.py", line 7' || chr(10), 60) || 'TimeoutError: ' || n))
            ELSE '[]' END,
       1, ARRAY['web-' || n % 6, 'x'], at, CASE WHEN state = 'scheduled' THEN at + interval '2 days' ELSE at END, at,
       CASE WHEN state = 'completed' THEN at END, CASE WHEN state = 'discarded' THEN at END,
       CASE WHEN state = 'cancelled' THEN at END
FROM (SELECT n, timezone('UTC', now()) - (($1 - n) * interval '1 day' / $1) AS at,
             CASE WHEN n % 100 < 85 THEN 'completed' WHEN n % 100 < 93 THEN 'available'
                  WHEN n % 100 < 97 THEN 'scheduled' WHEN n % 100 < 98 THEN 'retryable'
                  WHEN n % 100 < 99 THEN 'discarded' ELSE 'cancelled' END AS state
      FROM generate_series(1, $1) n) made
"""
FLOWS = """
INSERT INTO oban_workflows (name, state) SELECT 'flow ' || n, 'completed' FROM generate_series(1, 5000) n;
UPDATE oban_jobs SET workflow_id = 1 + id % 5000 WHERE id <= 50000;
UPDATE oban_jobs SET workflow_id = 5000 WHERE id BETWEEN 50001 AND 150000;
"""
"""5,000 workflows of ten jobs, and the newest of them with 100,000 more."""
SERIES = """
INSERT INTO oban_metrics (step, at, queue, origin, node, completed, run_at, run_n, wait_at, wait_n)
SELECT 60, timezone('UTC', date_trunc('minute', now())) - m * interval '1 minute', 'q' || q,
       ('00000000-0000-0000-0000-00000000000' || node)::uuid, 'web-' || node, 40, b.at, b.n, b.at, b.n
FROM generate_series(0, 179) m, generate_series(0, 7) q, generate_series(0, 5) node,
     (SELECT array_agg(v::smallint) AS at, array_agg(1) AS n FROM generate_series(10, 40) v) b;
INSERT INTO oban_metrics SELECT 600, at - (n + 1) * interval '3 hours', queue, origin, node, completed, retryable,
       discarded, cancelled, snoozed, busy, run_at, run_n, wait_at, wait_n
FROM oban_metrics, generate_series(0, 7) n WHERE step = 60 AND extract(minute FROM at)::int % 10 = 0;
INSERT INTO oban_depths (step, at, queue, available, scheduled, retryable, executing, oldest)
SELECT DISTINCT step, at, queue, 100, 5, 1, 3, 4.5 FROM oban_metrics;
"""
"""Three hours by the minute and a day by ten minutes, of six nodes and eight queues."""


@dataclass
class Cost:
    """What a page costs.

    :ivar first: milliseconds of the first answer.
    :ivar took: milliseconds of the others.
    :ivar rows: that the largest statement takes.
    :ivar blocks: that the largest statement looks at.
    """

    first: float = 0.0
    took: list[float] = field(default_factory=list[float])
    rows: float = 0.0
    blocks: int = 0

    @property
    def is_too_high(self) -> bool:
        """Whether it is more than was promised."""
        return median(self.took) > LIMIT or self.rows > MOST_ROWS


async def fill(place: Setting, jobs: int) -> None:
    """Fill the tables, and let the server know what is in them."""
    await place.empty()
    await place.raw.execute("TRUNCATE oban_workflows, oban_metrics, oban_depths RESTART IDENTITY CASCADE")
    await place.raw.execute("ALTER TABLE oban_jobs ALTER COLUMN id RESTART WITH 1")
    await place.raw.execute(FILL, jobs, timeout=3_600)
    await place.raw.execute(FLOWS, timeout=3_600)
    await place.raw.execute(SERIES)
    for table in ("oban_jobs", "oban_workflows", "oban_metrics", "oban_depths"):
        await place.raw.execute(f"VACUUM ANALYZE {table}", timeout=3_600)


Ask = Callable[[str], Awaitable[float]]


@contextlib.asynccontextmanager
async def asking(app: Dashboard) -> AsyncGenerator[Ask]:
    """A function that opens a page, and returns how many milliseconds it took."""
    if program() is None:
        print("without a Chromium: from the request to the last byte", flush=True)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(cast(Any, app)), base_url="http://here") as client:

            async def request(page: str) -> float:
                began = time.perf_counter()
                response = await client.get(f"/{page}", timeout=60)
                assert response.status_code == 200, (page, response.status_code)
                return (time.perf_counter() - began) * 1e3

            yield request
        return
    server = uvicorn.Server(uvicorn.Config(app, port=4017, log_level="warning"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.05)
    try:
        async with chromium() as browser:
            tab = await browser.page()
            await tab.look()

            async def open_page(page: str) -> float:
                took = await tab.goto(f"http://127.0.0.1:4017/{page}")
                assert not tab.complaints, (page, tab.complaints)
                return took

            yield open_page
    finally:
        server.should_exit = True
        await serving


async def measured(app: Dashboard) -> dict[str, Cost]:
    """What each page costs."""
    found = {page: Cost() for page in PAGES}
    place = await next(iter(app._instances.values())).here()
    async with asking(app) as ask:
        await ask("nodes")  # the browser, the templates and the connections are warm
        for page, cost in found.items():
            place.forget()
            cost.first = await ask(page)
            for _ in range(TIMES):
                await asyncio.sleep(1.05)  # what is shared for a second is read anew
                cost.took.append(await ask(page))
        explaining = Explaining(place.engine.sync_engine)
        for page, cost in found.items():
            place.forget()
            await ask(page)
            cost.rows, cost.blocks = explaining.largest()
    return found


class Explaining:
    """Explains each statement of an engine in its own transaction, before it is executed."""

    def __init__(self, engine: Any) -> None:
        self._plans: list[tuple[float, int, str]] = []
        self._inside = False
        event.listen(engine, "before_cursor_execute", self._before)

    def largest(self) -> tuple[float, int]:
        """Rows and blocks of the largest statement since the last call."""
        plans, self._plans = self._plans, []
        if os.environ.get("OBAN_BENCH_PLANS"):
            for rows, blocks, sql in sorted(plans, reverse=True)[:3]:
                print(f"    {rows:10,.0f} rows {blocks:8,} blocks  {' '.join(sql.split())[:150]}", flush=True)
        return max((plan[0] for plan in plans), default=0.0), max((plan[1] for plan in plans), default=0)

    def _before(self, connection: Connection, _cursor: Any, sql: str, parameters: Any, *_: Any) -> None:
        if self._inside or not sql.lstrip().upper().startswith(("SELECT", "WITH")) or "set_config" in sql:
            return
        self._inside = True
        try:
            explained = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}"
            answer: Any = connection.exec_driver_sql(explained, parameters).scalar_one()
            plans: Any = json.loads(answer) if isinstance(answer, str) else answer
            top: dict[str, Any] = plans[0]["Plan"]
            self._plans.append((rows_of(top), top["Shared Hit Blocks"] + top["Shared Read Blocks"], sql))
        finally:
            self._inside = False


def rows_of(node: dict[str, Any]) -> float:
    """How many rows a plan takes from tables and indexes, those that it throws away among them."""
    own = 0.0
    if ("Scan" in node["Node Type"] and "Relation Name" in node) or node["Node Type"] == "Bitmap Index Scan":
        removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
        own = (node["Actual Rows"] + removed) * node["Actual Loops"]
    return own + sum(rows_of(inner) for inner in node.get("Plans", ()))


async def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--jobs", type=int, default=2_000_000)
    options.add_argument("--filled", action="store_true", help="OBAN_BENCH_DATABASE_URL has the rows already")
    options.add_argument("--fill", action="store_true", help="fill the database, and measure nothing")
    given = options.parse_args()
    async with setting() as place:
        if not given.filled:
            print(f"filling {given.jobs:,} jobs", flush=True)
            await fill(place, given.jobs)
        if given.fill:
            return 0
        app = dashboard(Oban(place.engine), authorize=Access.ALL)
        try:
            found = await measured(app)
        finally:
            await app.aclose()
    print(f"{'page':42} {'median':>9} {'first':>9} {'rows':>9} {'blocks':>8}")
    for page, cost in found.items():
        print(
            f"/{page:41} {median(cost.took):6.1f} ms {cost.first:6.1f} ms {cost.rows:9,.0f} {cost.blocks:8,}"
            f"{'  too high' if cost.is_too_high else ''}"
        )
    return int(any(cost.is_too_high for cost in found.values()))


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
