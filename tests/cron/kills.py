"""Leaders that are killed at the full minutes, while they make the jobs of many entries."""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import Oban, job
from tests.cron.clock import database_time, grant, minute
from tests.processes import Process, running
from tests.runtime.helpers import execute
from tests.support import eventually

SPEED = 25.0


@job(name="cron.tick_of")
async def tick_of(note: str) -> None: ...


async def each_tick_is_made_once(engine: AsyncEngine, url: str, logs: Path, minutes: int) -> None:
    """The minutes last 2.4 s. After each full one, while the jobs of twenty entries are made, one of two leaders is
    killed, and another one started.

    :param url: of the engine's database.
    :param logs: a directory for what the leaders write.
    :raises AssertionError: a tick made no job, or two, or came in another order.
    """
    await grant(engine)
    crons = Oban(engine).crons
    names = {f"entry {n}": "* * * * *" if n % 2 else "*/2 * * * *" for n in range(20)}
    for name, expression in names.items():
        await crons.put(name, expression, tick_of.new(note=name))
    kills = 0
    async with AsyncExitStack() as stack:
        base = await database_time(engine)
        first = minute(base, 4)
        files = (logs / str(number) for number in itertools.count())
        leaders = [await stack.enter_async_context(leader(url, base, next(files))) for _ in range(2)]
        for n in range(minutes):
            tick = base + (minute(first, n) - base) / SPEED
            delay = (tick - await database_time(engine)).total_seconds() + random.uniform(0.0, 0.12)
            await asyncio.sleep(max(delay, 0.0))
            victim = leaders[n % 2]
            if victim.returncode is None:
                victim.signal(signal.SIGKILL)
                kills += 1
            # A new one takes the place of the one that was killed before; only then the other may die.
            leaders[n % 2] = await stack.enter_async_context(leader(url, base, next(files)))
        last = minute(first, minutes - 1).isoformat()
        every = minute(first, minutes - 1).minute % 2 == 0
        wanted = sum(every or expression.startswith("* *") for expression in names.values())

        async def last_tick_is_made() -> bool:
            return sum(row.meta["cron_at"] == last for row in await _enqueued(engine)) == wanted

        await eventually(last_tick_is_made, timeout=30)
    assert kills == minutes
    made: dict[str, list[datetime]] = defaultdict(list)
    for row in await _enqueued(engine):
        made[row.args["note"]].append(datetime.fromisoformat(row.meta["cron_at"]))
        assert row.scheduled_at.replace(tzinfo=UTC) == made[row.args["note"]][-1]
    for name, expression in names.items():
        within = [tick for tick in made[name] if first <= tick < minute(first, minutes)]
        planned = [minute(first, n) for n in range(minutes)]
        assert within == [tick for tick in planned if expression[0:3] == "* *" or tick.minute % 2 == 0], name
        assert made[name] == sorted(set(made[name])), f"{name}: ascending, none twice"


@asynccontextmanager
async def leader(url: str, base: datetime, log: Path) -> AsyncGenerator[Process]:
    with running(["-m", "tests.cron.leader", url, base.isoformat(), str(SPEED)], log) as process:
        await process.says("ready", 30)
        yield process


async def _enqueued(engine: AsyncEngine) -> list[Any]:
    return await execute(engine, "SELECT id, args, meta, scheduled_at FROM oban_jobs ORDER BY id")
