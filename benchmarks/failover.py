"""``python -m benchmarks.failover``: how long jobs wait for another node when theirs dies, with the default intervals.

Nodes are processes, killed with SIGKILL or stopped with SIGTERM. Times are from the signal.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time

from benchmarks.setting import Setting, setting
from oban_sqla import JobSpec, enqueue
from tests.integration.node import RUNS
from tests.integration.nodes import node

JOBS = 50
ALL, NONE = "default=60", "elsewhere=1"


async def _wait(place: Setting, sql: str, seconds: float = 90.0) -> float:
    """Wait until `sql` is true; when that was."""
    deadline = time.monotonic() + seconds
    while not await place.raw.fetchval(sql):
        if time.monotonic() > deadline:
            raise TimeoutError(sql)
        await asyncio.sleep(0.02)
    return time.monotonic()


async def _leads(place: Setting, name: str) -> float:
    return await _wait(
        place, f"SELECT EXISTS (SELECT FROM oban_leaders WHERE name LIKE 'oban_sqla:%' AND node LIKE '{name}/%')"
    )


async def jobs_of_a_killed_node(place: Setting, victim_leads: bool) -> float:
    """Until all its jobs run again."""
    await place.raw.execute("TRUNCATE oban_jobs, runs")
    first, second = (("victim", ALL), ("other", NONE)) if victim_leads else (("other", NONE), ("victim", ALL))
    async with node(place.url, first[1], node=first[0]) as one, node(place.url, second[1], node=second[0]) as two:
        await _leads(place, first[0])
        async with place.session.begin() as session:
            await enqueue(session, [JobSpec("node.first_hangs") for _ in range(JOBS)])
        await _wait(place, f"SELECT count(*) = {JOBS} FROM runs")
        async with node(place.url, ALL, node="heir"):
            await asyncio.sleep(5)  # into the middle of everybody's intervals
            killed = time.monotonic()
            (one if victim_leads else two).signal(signal.SIGKILL)
            took = await _wait(place, f"SELECT count(*) = {JOBS} FROM runs WHERE attempt = 2") - killed
    [[twice]] = await place.raw.fetch("SELECT count(*) FROM runs WHERE attempt = 2 AND node <> 'heir'")
    assert twice == 0, "a job ran on a node that was not to have it"
    return took


async def successor(place: Setting, kill: bool) -> float:
    """Until another node leads."""
    async with node(place.url, NONE, node="first") as first:
        await _leads(place, "first")
        async with node(place.url, NONE, node="second"):
            await asyncio.sleep(1)
            gone = time.monotonic()
            first.signal(signal.SIGKILL if kill else signal.SIGTERM)
            return await _leads(place, "second") - gone


async def main() -> bool:
    held = True
    async with setting() as place:
        await place.raw.execute(RUNS)
        for what, measure, goal in (
            (f"{JOBS} jobs of a killed node run again", jobs_of_a_killed_node(place, False), 25.0),
            (f"{JOBS} jobs of a killed leader run again", jobs_of_a_killed_node(place, True), 40.0),
            ("another node leads after SIGTERM", successor(place, False), 1.0),
            ("another node leads after SIGKILL", successor(place, True), 20.0),
        ):
            took = await measure
            held = held and took <= goal
            print(f"{what:<45} {took:6.2f} s   ≤ {goal:g} s   {'ok' if took <= goal else 'NOT REACHED'}", flush=True)
        await place.raw.execute("DROP TABLE runs")
    return held


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(main()) else 1)
