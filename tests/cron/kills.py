"""Leaders that are killed at the full minutes, while they make the jobs of many entries."""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from oban_sqla import Oban, job
from tests.cron.clock import CLOCK, TURN, database_time, grant, minute
from tests.processes import Process, running
from tests.runtime.helpers import execute
from tests.support import eventually

BEFORE = timedelta(seconds=5)
"""How long before a full minute the clock begins to run."""
IN_TIME = timedelta(seconds=55)
"""How long after a full minute the clock stands still: a tick that is noticed later than a minute is missed."""


@job(name="cron.tick_of")
async def tick_of(note: str) -> None: ...


async def each_tick_is_made_once(engine: AsyncEngine, url: str, logs: Path, minutes: int) -> None:
    """A minute lasts 2.4 s at most: the clock is turned on to the next one when the jobs of a tick are there. After
    each full one, while the jobs of twenty entries are made, one of two leaders is killed, and another one started.

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
    first = minute(await database_time(engine), 4)
    await execute(engine, "DROP TABLE IF EXISTS tick_clock")
    await execute(engine, CLOCK, shows=first - BEFORE)  # it stands until the leaders have started
    async with AsyncExitStack() as stack:
        stack.push_async_callback(execute, engine, "DROP TABLE tick_clock")
        files = (logs / str(number) for number in itertools.count())
        leaders = [await stack.enter_async_context(leader(url, next(files))) for _ in range(2)]
        for n in range(minutes):
            tick = minute(first, n)
            await execute(engine, TURN, shows=tick - BEFORE, until=tick + IN_TIME)
            await asyncio.sleep(BEFORE.total_seconds() / 25 + random.uniform(0.0, 0.12))
            victim = leaders[n % 2]
            if victim.returncode is None:
                victim.signal(signal.SIGKILL)
                kills += 1
            # A new one takes the place of the one that was killed before; only then the other may die.
            leaders[n % 2] = await stack.enter_async_context(leader(url, next(files)))
            wanted = sum(tick.minute % 2 == 0 or expression.startswith("* *") for expression in names.values())
            await eventually(partial(_are_made, engine, tick, wanted), timeout=60)
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
async def leader(url: str, log: Path) -> AsyncGenerator[Process]:
    with running(["-m", "tests.cron.leader", url], log) as process:
        await process.says("ready", 60)
        yield process


async def _are_made(engine: AsyncEngine, tick: datetime, wanted: int) -> bool:
    return sum(row.meta["cron_at"] == tick.isoformat() for row in await _enqueued(engine)) == wanted


async def _enqueued(engine: AsyncEngine) -> list[Any]:
    return await execute(engine, "SELECT id, args, meta, scheduled_at FROM oban_jobs ORDER BY id")
