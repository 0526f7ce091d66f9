"""Jobs of pure Python in child processes, beside ``ProcessPoolExecutor``."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from benchmarks.setting import Setting
from oban_sqla import Oban, Processes, job

JOBS = 200
SECONDS = 0.02
CORES = 2


def burn(seconds: float = SECONDS) -> None:
    """Keep a processor busy for so long."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


@job(name="bench.burn", queue="children", executor="process")
def burn_in_child(seconds: float) -> None:
    burn(seconds)


async def children(setting: Setting) -> dict[str, float]:
    """The wall clock of 200 jobs of 20 ms on two children, through a node and its database, with the start of neither
    side. Returns both times, and ours by the pool's."""
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(CORES, get_context("spawn")) as pool:
        await asyncio.gather(*(loop.run_in_executor(pool, burn, 0.0) for _ in range(CORES)))
        began = time.perf_counter()
        await asyncio.gather(*(loop.run_in_executor(pool, burn, SECONDS) for _ in range(JOBS)))
        theirs = time.perf_counter() - began
    await setting.empty()
    oban = Oban(setting.engine, queues={"children": 10}, processes=Processes(size=CORES))
    async with oban:
        await _run(setting, oban, 20, 0.0)
        began = time.perf_counter()
        await _run(setting, oban, JOBS, SECONDS)
        ours = time.perf_counter() - began
    return {"loop": JOBS / theirs, "ours": JOBS / ours, "ratio": ours / theirs}


async def _run(setting: Setting, oban: Oban, jobs: int, seconds: float) -> None:
    await oban.enqueue([burn_in_child.new(seconds) for _ in range(jobs)])
    unfinished = "SELECT EXISTS (SELECT FROM oban_jobs WHERE state <> 'completed')"
    while await setting.raw.fetchval(unfinished):
        await asyncio.sleep(0.005)
