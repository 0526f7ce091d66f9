"""``python -m benchmarks.dashboard [--jobs 2000000] [--screenshots FOLDER]``: the dashboard over many jobs.

Fills the table (85 % completed, 8 % available, the rest in all other states; 8 queues, 40 workers, 400 tenants), and
prints for each page the median of its answers in milliseconds, from the request to the last byte. A second lies between
two of them, so what is shared for a second is read anew, and what is kept for longer is not. With ``--screenshots`` a
headless Chromium draws the pages into PNG files instead.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path
from typing import Any, cast

import httpx
import uvicorn

from benchmarks.setting import Setting, median, setting
from oban_sqla import Oban
from oban_sqla.web import Access, Dashboard, dashboard

LIMIT = 200.0
"""Milliseconds that a page may take at the median."""
TIMES = 9
PAGES = (
    "", "jobs", "jobs?state=completed", "jobs?state=available&queue=bulk", "jobs?args.tenant=17",
    "jobs?worker=app.never", "jobs?error=timeout", "queues", "queue?name=bulk", "flows", "failures", "crons",
    "nodes", "audit", "system",
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


async def fill(place: Setting, jobs: int) -> None:
    """Fill the table, and let the server know what is in it."""
    await place.empty()
    await place.raw.execute(FILL, jobs, timeout=3_600)
    await place.raw.execute("VACUUM ANALYZE oban_jobs", timeout=3_600)


async def timings(app: Dashboard) -> dict[str, float]:
    """The median milliseconds of each page."""
    found: dict[str, float] = {}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(cast(Any, app)), base_url="http://here") as client:
        for page in PAGES:
            took: list[float] = []
            for _ in range(TIMES):
                await asyncio.sleep(1.05)  # what is shared for a second is read anew
                began = time.perf_counter()
                response = await client.get(f"/{page}", timeout=60)
                took.append((time.perf_counter() - began) * 1e3)
                assert response.status_code == 200, (page, response.status_code)
            found[page] = median(took)
    return found


async def screenshots(app: Dashboard, folder: Path) -> None:
    """Draw the pages, light and dark, into PNG files."""
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    server = uvicorn.Server(uvicorn.Config(app, port=4017, log_level="warning"))
    serving = asyncio.create_task(server.serve())
    try:
        for page in ("", "jobs", "queues", "failures"):
            for theme, number in (("light", 1), ("dark", 0)):
                file = folder / f"{page or 'overview'}-{theme}.png"
                command = [
                    "chromium", "--headless", "--no-sandbox", "--hide-scrollbars", "--window-size=1440,1000",
                    f"--blink-settings=preferredColorScheme={number}", f"--screenshot={file}",
                    f"http://127.0.0.1:4017/{page}",
                ]  # fmt: skip
                process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
                await process.wait()
                print(file)
    finally:
        server.should_exit = True
        await serving


async def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--jobs", type=int, default=2_000_000)
    options.add_argument("--screenshots", type=Path)
    given = options.parse_args()
    async with setting() as place:
        print(f"filling {given.jobs:,} jobs", flush=True)
        await fill(place, given.jobs)
        app = dashboard(Oban(place.engine), authorize=Access.ALL)
        try:
            if given.screenshots is not None:
                await screenshots(app, given.screenshots)
                return 0
            found = await timings(app)
        finally:
            await app.aclose()
    for page, took in found.items():
        print(f"/{page:40} {took:7.1f} ms{'' if took <= LIMIT else '  too long'}")
    return int(any(took > LIMIT for took in found.values()))


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
