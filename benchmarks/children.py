"""Pure Python in child processes, beside ``ProcessPoolExecutor``: ``python -m benchmarks.children [--rounds 5]``.

Prints the wall clock of 200 jobs of 20 ms on two processes, by that of the standard library's pool: through a node and
its database, and of the children alone. The rounds of all three alternate in one process. A job takes 20 ms of
processor time: one that ran until a point of time would not feel what else takes its core, and a loop of a fixed length
takes 17 ms in one process and 20 in the next.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from multiprocessing import get_context
from typing import Any

from benchmarks.setting import Setting, median, setting
from oban_sqla import Oban, Processes, job, telemetry
from oban_sqla.executors.errand import payload
from oban_sqla.executors.pool import Pool
from oban_sqla.runtime.executors.call import Call
from oban_sqla.runtime.row import row_of
from oban_sqla.statements.fetch import fetch
from oban_sqla.workers.registry import workers

JOBS = 200
SECONDS = 0.02
CORES = 2
LIMIT = 10
GOAL, BARE_GOAL = 1.15, 1.0


def burn(seconds: float = SECONDS) -> None:
    """Use so much processor time."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


@job(name="bench.burn", queue="children", executor="process")
def burn_in_child(seconds: float) -> None:
    burn(seconds)


class Rounds:
    """The three sides, each started once; a round of each takes its turn."""

    def __init__(self, setting: Setting, theirs: ProcessPoolExecutor, oban: Oban, children: Pool) -> None:
        self._setting = setting
        self._theirs = theirs
        self._oban = oban
        self._children = children
        self._payload = b""
        """A call as a child gets it. Written by `warm_up`."""

    async def warm_up(self) -> None:
        """Let every process be started, and have run something."""
        for seconds in (0.0, SECONDS):
            await self.theirs(40, seconds)
            await self.through_a_node(40, seconds)
        await self._oban.pause_queue("children")
        await self._oban.enqueue(burn_in_child.new(SECONDS))
        by = ["bench", "bare"]
        async with self._setting.engine.begin() as connection:
            given: dict[str, Any] = {"queue": "children", "attempted_by": by, "unknown": [], "limit": 1}
            [row] = await connection.run_sync(lambda sync: fetch.execute(sync, **given).all())
        self._payload = payload(Call(workers["bench.burn"], row_of(*row, "children", by)), {}, {})
        await self._setting.empty()
        await self._oban.resume_queue("children")
        await self.bare(40)

    async def theirs(self, jobs: int = JOBS, seconds: float = SECONDS) -> float:
        """Seconds of the standard library's pool."""
        loop = asyncio.get_running_loop()
        began = time.perf_counter()
        await asyncio.gather(*(loop.run_in_executor(self._theirs, burn, seconds) for _ in range(jobs)))
        return time.perf_counter() - began

    async def bare(self, jobs: int = JOBS) -> float:
        """Seconds of the children alone."""

        async def run() -> None:
            child = await self._children.take()
            running = child.run(self._payload)
            running.add_done_callback(lambda _: self._children.give_back(child))  # as the executor does
            await running

        began = time.perf_counter()
        await asyncio.gather(*(run() for _ in range(jobs)))
        return time.perf_counter() - began

    async def through_a_node(self, jobs: int = JOBS, seconds: float = SECONDS) -> float:
        """Seconds from before they are enqueued until the database has taken the last ack."""
        left = jobs
        ended = asyncio.Event()

        def stopped(_name: str, _fields: object) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                ended.set()

        telemetry.attach("bench", ["oban.job.stop"], stopped)
        try:
            began = time.perf_counter()
            await self._oban.enqueue([burn_in_child.new(seconds) for _ in range(jobs)])
            await ended.wait()
            while await self._setting.raw.fetchval("SELECT EXISTS (SELECT FROM oban_jobs WHERE state <> 'completed')"):
                await asyncio.sleep(0.001)
            return time.perf_counter() - began
        finally:
            telemetry.detach("bench")


@asynccontextmanager
async def rounds(setting: Setting) -> AsyncGenerator[Rounds]:
    """All three sides, started and warm."""
    await setting.empty()
    oban = Oban(setting.engine, queues={"children": LIMIT}, processes=Processes(size=CORES))
    with ProcessPoolExecutor(CORES, get_context("spawn")) as theirs:
        async with oban:
            made = Rounds(setting, theirs, oban, _children_of(oban))
            await made.warm_up()
            yield made


def _children_of(oban: Oban) -> Pool:
    assert oban._life.places is not None
    return oban._life.places._pool


async def children(setting: Setting) -> dict[str, float]:
    """The wall clock of one round of each side: theirs, ours, and ours by theirs; ``bare`` is of the children alone."""
    async with rounds(setting) as each:
        theirs, ours, bare = await each.theirs(), await each.through_a_node(), await each.bare()
    return {"loop": JOBS / theirs, "ours": JOBS / ours, "ratio": ours / theirs, "bare": bare / theirs}


async def main(number: int) -> None:
    through: list[float] = []
    alone: list[float] = []
    async with setting() as where, rounds(where) as each:
        for turn in range(number):
            sides = [("theirs", each.theirs), ("a node", each.through_a_node), ("alone", each.bare)]
            took = {
                name: await work() for name, work in sides[turn % 3 :] + sides[: turn % 3]
            }  # none always comes last
            theirs = took["theirs"]
            through.append(took["a node"] / theirs)
            alone.append(took["alone"] / theirs)
            print(
                f"theirs {theirs:.2f} s; a node {through[-1]:.2f}, the children alone {alone[-1]:.2f} of it", flush=True
            )
    print(
        f"{JOBS} jobs of {SECONDS * 1e3:g} ms through a node: {median(through):.2f} of ProcessPoolExecutor (≤ {GOAL})"
    )
    print(f"the children alone: {median(alone):.2f} of it (goal: at most {BARE_GOAL})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    logging.getLogger("oban_sqla").setLevel(logging.ERROR)
    asyncio.run(main(parser.parse_args().rounds))
