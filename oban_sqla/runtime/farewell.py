"""What a stop that takes a while says: which jobs it waits for, for how long, and how to shorten that."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Collection

from ..telemetry import node_logger as logger
from ..telemetry.words import counted_jobs
from .attempt import Attempt

FIRST, EVERY = 2.0, 10.0
"""Seconds until it is said for the first time, and again."""
MOST = 5
"""Jobs that are named."""


@contextlib.asynccontextmanager
async def told(running: Callable[[], Collection[Attempt]], grace: float) -> AsyncGenerator[None]:
    """Log in the background what the block waits for.

    :param running: gives the runs that have not ended.
    :param grace: seconds that they may take.
    """
    teller = asyncio.create_task(_tell(running, grace), name="oban_sqla farewell")
    try:
        yield
    finally:
        teller.cancel()
        await asyncio.wait([teller])


async def _tell(running: Callable[[], Collection[Attempt]], grace: float) -> None:
    deadline = time.monotonic() + grace
    await asyncio.sleep(FIRST)
    while (left := deadline - time.monotonic()) > 0:
        if attempts := list(running()):
            logger.warning(
                "waiting up to %.0f s more for %s: %s; then they are cancelled, and run again later "
                "(Oban(shutdown_grace=…), or start --shutdown-grace, says how long)",
                left, counted_jobs(len(attempts)), _named(attempts),
            )  # fmt: skip
        await asyncio.sleep(EVERY)


def _named(attempts: Collection[Attempt]) -> str:
    now = time.monotonic()
    oldest = sorted(attempts, key=lambda attempt: attempt.started or now)
    named = [
        f"job {attempt.row.id} ({attempt.row.worker}, running for {now - (attempt.started or now):.0f} s)"
        for attempt in oldest[:MOST]
    ]
    beyond = f" and {len(oldest) - MOST} more" if len(oldest) > MOST else ""
    return ", ".join(named) + beyond
