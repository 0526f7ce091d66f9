"""Whether a run still has its job, asked of the database."""

from __future__ import annotations

import asyncio
import time

from ..statements.ack import not_held, still_ours
from .acks import LOCKED_RETRY, Ack, parameters
from .lanes.lane import STATEMENT_TIMEOUT, Lane
from .row import Row


async def is_settled(lane: Lane, row: Row) -> bool:
    """Whether the job of `row` no longer belongs to the run that fetched it.

    While its row is locked, its own transaction may be committing: that is waited for.

    :param lane: the connection to ask on.
    """
    fence = Ack(row.id, row.attempt, row.attempted_by[1], row.attempted_at)
    until = time.monotonic() + STATEMENT_TIMEOUT
    while await lane.run(still_ours, **parameters(still_ours, [fence])):
        if time.monotonic() > until or await lane.run(not_held, **parameters(not_held, [fence])):
            return False
        await asyncio.sleep(LOCKED_RETRY)
    return True
