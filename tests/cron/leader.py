"""A leader as a real process: ``python -m tests.cron.leader URL``. Schedules until it is killed."""

from __future__ import annotations

import asyncio
import sys

from sqlalchemy.ext.asyncio import create_async_engine

from oban_sqla.runtime.lanes.lane import Lane
from oban_sqla.runtime.lanes.line import Line
from tests.cron.clock import Leader, Turned


async def main(url: str) -> None:
    engine = create_async_engine(url)
    lane = Lane(Line(engine, pooled=False), "reading")
    scheduler = Turned(lane=lane, leadership=Leader(), engine=engine, own=dict)  # type: ignore[arg-type]
    scheduler.start()
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
