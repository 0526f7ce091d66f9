"""A node as a process whose jobs have five steps: ``python -m tests.durable.node URL NAME``."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from oban_sqla import Heartbeat, Oban, job
from oban_sqla.durable import sleep, step, wait_for

ADD = text("INSERT INTO durable_effects (what) VALUES (:what)")
GO_ON = text("SELECT count(*) FROM durable_effects WHERE what = 'go on'")


async def book(session: AsyncSession, number: int, part: int) -> int:
    """An effect that has to be there exactly once."""
    await session.execute(ADD, {"what": f"{number}/{part}"})
    await asyncio.sleep(random.random() * 0.01)
    return part


async def draw() -> float:
    """A value that is another one in each run of the function."""
    return random.random()


@job(name="durable.five", queue="durable", recorded=True, backoff=0, max_attempts=1_000)
async def five(number: int) -> list[float]:
    """Three steps with a session and two without one, with a short sleep between."""
    drawn = [await step("draw 0", draw)]
    booked = [await step(f"book {part}", book, number, part) for part in range(2)]
    await sleep(0.06)
    drawn.append(await step("draw 1", draw))
    booked.append(await step("book 2", book, number, 2))
    assert booked == [0, 1, 2]
    return drawn


async def pay(session: AsyncSession, number: int) -> float:
    """Pay, and hold the transaction open until the test lets it go on."""
    await session.execute(ADD, {"what": f"pay {number}"})
    print("paying", number, flush=True)
    while not await session.scalar(GO_ON):  # noqa: ASYNC110 (another program says so)
        await asyncio.sleep(0.05)
    return random.random()


@job(name="durable.pays", queue="durable", recorded=True, backoff=0)
async def pays(number: int) -> list[object]:
    """A step with a session, one without, and two signals."""
    got: list[object] = [await step("pay", pay, number), await step("draw", draw)]
    got += [await wait_for("go") for _ in range(2)]
    print("got", json.dumps(got), flush=True)
    return got


async def main(url: str, name: str) -> None:
    engine = create_async_engine(url, pool_size=20)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    quick = Heartbeat(interval=0.25, stale_after=0.75, dead_after=2.0)
    async with Oban(
        engine, {"durable": 10}, node=name, heartbeat=quick, lifeline_interval=0.25, leader_ttl=1.0, poll_interval=0.2
    ):
        print("ready", os.getpid(), flush=True)
        await stop.wait()
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
