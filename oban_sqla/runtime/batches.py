"""How many jobs a statement takes at once: as many as the database changes, and the line carries, in time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from ..statements.bulk import Bulk
from ..statements.statement import Statement
from .lanes.failure import StatementFailed
from .lanes.lane import Lane
from .refusals import Refusals

QUICK = 2.0
"""Seconds: what took less may be twice as large the next time."""
MOST_REFUSED = 100
"""How many refused jobs one call looks for, before it leaves the others to the next one."""


class Size:
    """The largest batch that is worth sending: half after a failure that a smaller one may avoid, twice after success.

    :param largest: where it starts, and what it never exceeds.
    """

    def __init__(self, largest: int) -> None:
        self.now = largest
        # Given, and never written again.
        self._largest = largest

    def failed(self, sent: int) -> None:
        """A batch of `sent` was too slow, or has a part that was refused."""
        self.now = max(sent // 2, 1)

    def succeeded(self, sent: int, seconds: float) -> None:
        """A batch of `sent` took so long."""
        if sent >= self.now and seconds < QUICK:
            self.now = min(self.now * 2, self._largest)


class Batches:
    """Sends bulk statements that no single job can stop.

    Where the database refuses a batch, it is halved until the job that is refused is alone; then that one is left out
    for a minute. Where the answer does not come in time, the next batch is half as large.

    :param lane: the connection to send on.
    :param refusals: the jobs to leave out.
    :param largest: the size of the largest batch.
    :param shielded: whether a statement goes on when its caller is cancelled. Default: True.
    """

    def __init__(self, lane: Lane, refusals: Refusals, largest: int, *, shielded: bool = True) -> None:
        # Given, and never written again.
        self._lane = lane
        self._shielded = shielded
        self._refusals = refusals
        self._size = Size(largest)

    async def run(self, bulk: Bulk, limit: int, **given: Any) -> tuple[Sequence[Any], bool]:
        """Execute `bulk` for up to `limit` jobs.

        :returns: the rows, and whether there may be more jobs to change.
        :raises StatementFailed: when the database did not answer, or refuses more than :data:`MOST_REFUSED` jobs.
        """
        refused = 0
        whole = True
        while True:
            size = min(limit, self._size.now)
            ids = self._refusals.ids()
            began = time.monotonic()
            try:
                if bulk.plain is not None and whole and not ids:
                    rows = await self._send(bulk.plain, limit=size, **given)
                else:
                    rows = await self._send(bulk.change, limit=size, refused=ids, **given)
            except StatementFailed as error:
                if error.is_data_error and (size > 1 or refused < MOST_REFUSED):
                    whole = False
                    if size > 1:
                        self._size.failed(size)
                    else:
                        refused += await self._leave_out(bulk, error, ids, given)
                    continue
                if error.is_too_large:
                    self._size.failed(size)
                raise
            changed = bulk.count(rows)
            if changed >= size:
                self._size.succeeded(size, time.monotonic() - began)
            return rows, changed >= size

    async def _send(self, statement: Statement, **parameters: Any) -> Sequence[Any]:
        send = self._lane.run if self._shielded else self._lane.run_unshielded
        return await send(statement, **parameters)

    async def _leave_out(self, bulk: Bulk, error: StatementFailed, ids: list[str], given: dict[str, Any]) -> int:
        """Leave out the one job that the statement would change next."""
        found = await self._send(bulk.find, limit=1, refused=ids, **given)
        for (job_id,) in found:
            self._refusals.add(job_id, error)
        return max(len(found), 1)
