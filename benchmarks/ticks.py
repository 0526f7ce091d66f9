"""``python -m benchmarks.ticks [MINUTES]``: each tick makes one job, though a leader is killed at every full minute.

A minute lasts 2.4 s at most; 10 of them if no number is given.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from benchmarks.setting import setting
from tests.cron.kills import each_tick_is_made_once


async def main(minutes: int) -> None:
    async with setting() as place:
        with tempfile.TemporaryDirectory() as logs:
            await each_tick_is_made_once(place.engine, place.url, Path(logs), minutes)
    print(f"{minutes} minutes, {minutes} killed leaders: each tick made one job")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10))
