"""``python -m benchmarks.awaiting [--jobs 300]``: what waiting for results costs.

Two nodes in two processes: one enqueues and waits, the other runs. Prints the median from enqueueing to the end of the
job (seen by a listener on the table), and from enqueueing to its result, of 1 kB and of 8 MB; then the statements per
second of 1,000 waits at once. With LISTEN and without.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import time
from typing import Any, Literal

from benchmarks.setting import Setting, median, setting
from oban_sqla import Oban, job

LIMIT = 2.0
"""A result may take so many times what the bare job takes."""


@job(name="bench.sized", queue="bench", recorded=True)
async def sized(size: int) -> str:
    return "x" * size


async def bare(place: Setting, oban: Oban, count: int) -> float:
    """Median milliseconds from enqueueing until the row says that the job is completed, which a busy loop asks."""
    took: list[float] = []
    for _ in range(count):
        began = time.perf_counter()
        [spec] = await oban.enqueue(sized.new(1_000))
        while await place.raw.fetchval("SELECT state FROM oban_jobs WHERE id = $1", spec.id) != "completed":
            pass
        took.append((time.perf_counter() - began) * 1e3)
    return median(took)


async def awaited(oban: Oban, count: int, size: int) -> float:
    """Median milliseconds from enqueueing to the result."""
    took: list[float] = []
    for _ in range(count):
        began = time.perf_counter()
        [spec] = await oban.enqueue(sized.new(size))
        await oban.result(spec, timeout=60)
        took.append((time.perf_counter() - began) * 1e3)
    return median(took)


async def crowd(oban: Oban) -> float:
    """Statements per second of a node while 1,000 waits are open."""
    specs = await oban.enqueue([sized.options(schedule_in=600).new(1) for _ in range(1_000)])
    assert oban._node is not None
    lane = oban._node.connections.upkeep
    original, sent = lane.run_unshielded, 0

    async def counted(statement: Any, /, **parameters: Any) -> Any:
        nonlocal sent
        sent += statement.name in ("outcomes", "notify_at_once")
        return await original(statement, **parameters)

    waits = [asyncio.create_task(oban.result(spec, timeout=600)) for spec in specs]
    await asyncio.sleep(3)
    lane.run_unshielded = counted  # type: ignore[method-assign]
    await asyncio.sleep(20)
    for wait in waits:
        wait.cancel()
    await asyncio.gather(*waits, return_exceptions=True)
    await oban.cancel([spec.id or 0 for spec in specs])
    return sent / 20


async def serve(url: str, notify: Literal["auto", "off"]) -> None:
    """The node that runs the jobs, until its input ends."""
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine(url)
    async with Oban(engine, queues={"bench": 10}, notify=notify, poll_interval=0.05):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)
    await engine.dispose()


async def measure(place: Setting, notify: Literal["auto", "off"], jobs: int) -> bool:
    await place.empty()
    command = [sys.executable, "-m", "benchmarks.awaiting", "--serve", notify]
    environment = {**os.environ, "OBAN_BENCH_DATABASE_URL": place.url}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as other:  # noqa: ASYNC220
        assert other.stdout is not None
        await asyncio.to_thread(other.stdout.readline)
        async with Oban(place.engine, notify=notify, node="asks") as oban:
            plain, small = await bare(place, oban, jobs), await awaited(oban, jobs, 1_000)
            large = await awaited(oban, 5, 8_000_000)
            print(
                f"notify={notify!r}: bare {plain:.1f} ms, result of 1 kB {small:.1f} ms ({small / plain:.2f} ×), "
                f"of 8 MB {large:.0f} ms; 1,000 waits: {await crowd(oban):.2f} statements/s"
            )
        assert other.stdin is not None
        other.stdin.close()
    return notify == "off" or small <= LIMIT * plain


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--serve", choices=("auto", "off"))
    given = parser.parse_args()
    if given.serve:
        await serve(os.environ["OBAN_BENCH_DATABASE_URL"], given.serve)
        return 0
    async with setting() as place:
        goals = [await measure(place, "auto", given.jobs), await measure(place, "off", given.jobs)]
    return 0 if all(goals) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
