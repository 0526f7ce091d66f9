"""Finding jobs that were fetched unheard: the answer of a fetch was lost, and the database has given jobs."""

from __future__ import annotations

import time
from collections.abc import Iterable

from .. import telemetry
from ..statements.rescue import RECONCILE
from ..telemetry.words import counted_jobs
from .batches import Batches
from .lanes.lane import Lane
from .refusals import Refusals

EVERY = 60.0
LARGEST = 10_000
# A statement whose answer was lost may be committed by the server some time after we have noticed.
AFTER_LOSS = (0.0, 1.0, 4.0, 15.0)


class Reconciliation:
    """Gives back the jobs of one producer that it does not hold.

    :param lane: the connection that fetches.
    :param refusals: the jobs that the database refuses to change.
    """

    def __init__(self, lane: Lane, refusals: Refusals) -> None:
        # Given, and never written again.
        self._refusals = refusals
        # Where it asks: written by use().
        self._batches = Batches(lane, refusals, LARGEST, shielded=False)
        # When to ask, soonest first: written by doubt() and run().
        self._at = [time.monotonic() + EVERY]
        # Whether jobs may have been fetched since: written by fetched(), doubt() and run().
        self._fetched = False

    @property
    def due(self) -> float:
        """When to ask next, in monotonic seconds."""
        return self._at[0]

    def use(self, lane: Lane) -> None:
        """Ask on another connection from now on."""
        self._batches = Batches(lane, self._refusals, LARGEST, shielded=False)

    def fetched(self) -> None:
        """Jobs are fetched."""
        self._fetched = True

    def doubt(self) -> None:
        """The outcome of a fetch is unknown: ask now and a little later."""
        now = time.monotonic()
        self._fetched = True
        self._at = [now + delay for delay in AFTER_LOSS] + [now + EVERY]

    async def run(self, name: str, queue: str, producer: str, held: Iterable[int]) -> bool:
        """Give back what is not among `held`. Returns whether there was something.

        :param name: of the producer, for the log.
        :raises StatementFailed: when the database did not answer.
        """
        now = time.monotonic()
        count, full = 0, False
        if self._fetched:
            rows, full = await self._batches.run(RECONCILE, LARGEST, queue=queue, producer=producer, held=list(held))
            count = len(rows)
        # What has not asked for jobs since can't have been given any: an idle queue sends nothing.
        doubts = [at for at in self._at if at > now]
        if full:
            doubts = [now, *(doubts or [now + EVERY])]  # there may be more
        self._fetched = bool(doubts)
        self._at = doubts or [now + EVERY]
        if count:
            telemetry.queue_logger.warning(
                "%s: gave back %s of a fetch whose answer was lost", name, counted_jobs(count)
            )
        return count > 0
