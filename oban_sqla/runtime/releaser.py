"""The releaser: acts on the news of flows, batches, chains and signals, on its own lane.

Nothing that a job's end makes possible is done in its ack: that would hold locks on other jobs, and one transaction of
a user that has such a job would hold up all acks. A trigger writes what happened, and every node acts on it: after a
batch of its acks with a job that is news, after commits of its process and its own changes, and when a poll finds
news, for those that other programs wrote. One statement answers for all that came meanwhile.

What to do is in the functions of :data:`~oban_sqla.statements.releases.RELEASES`; a feature adds its own there.

Telemetry: the span ``oban.releaser.release`` with ``released_count``, ``oban.workflow.stop`` for each workflow that has
ended, and ``oban.batch.stop`` for each batch.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from .. import telemetry
from ..statements.releases import ended_batches, release, release_and_sign, release_signals
from ..statements.statement import Statement
from .lanes.lane import Lane
from .loop import Loop

FIRST_REST = 0.005
LONGEST_REST = 0.25
"""Seconds until the next look where a lock has kept news from being acted on."""

LONGEST_PAUSE = 0.005
"""Seconds. After a look from which nothing came, as before a fan-in, it pauses for as long as that took if there are
news again: to look at the news of two takes less than two looks."""

MOST_UNTOLD = 100
"""Releases of which the ended batches are told later, where the database does not answer."""


def report_end_of_flow(ended: str) -> None:
    """Tell that a workflow has ended: ``oban.workflow.stop``.

    :param ended: the fields, as JSON.
    """
    if telemetry.listened("oban.workflow.stop"):
        telemetry.execute("oban.workflow.stop", **json.loads(ended))


def report_end_of_batch(row: Sequence[Any]) -> None:
    """Tell that a batch has ended: ``oban.batch.stop``.

    :param row: of :data:`ended_batches`.
    """
    batch_id, name, states, duration = row
    counts = json.loads(states or "{}")
    telemetry.execute("oban.batch.stop", batch_id=batch_id, name=name, states=counts, duration=duration)


class Released:
    """What one release has done, by its rows; see :data:`~oban_sqla.statements.releases.RELEASES`.

    :ivar count: how many jobs are available now.
    :ivar queues: in which.
    :ivar has_scheduled: whether some jobs are scheduled now.
    :ivar left: how many news could not be acted on yet.
    :ivar flows: of each workflow that has ended, its telemetry as JSON.
    :ivar signature: by which the batches are found that have ended; None where it was not asked for.
    """

    def __init__(self, rows: Sequence[Any]) -> None:
        self.count = 0
        self.queues: set[str] = set()
        self.has_scheduled = False
        self.left = 0
        self.flows: list[str] = []
        self.signature: str | None = None
        for queue, jobs, ended in rows:
            if queue == "":
                self.signature = ended
            elif ended is not None:
                self.flows.append(ended)
            elif queue is None:
                self.left += jobs
            elif jobs:
                self.count += jobs
                self.queues.add(queue)
            else:
                self.has_scheduled = True

    @property
    def is_felt(self) -> bool:
        """Whether anything came of it."""
        return bool(self.count or self.has_scheduled or self.flows)


class Releaser(Loop):
    """Does what news make possible. :meth:`wake` it when there may be some.

    :param lane: a connection for this alone; it connects when there are the first news.
    :param available: called with the queues in which jobs are available now.
    :param soon: called when jobs were scheduled, which may be due in a moment.
    :param acted: called when it has acted on news.
    """

    name = "releaser"

    def __init__(
        self,
        lane: Lane,
        *,
        available: Callable[[set[str]], None],
        soon: Callable[[], None],
        acted: Callable[[], None],
    ) -> None:
        super().__init__()
        # Given, and never written again.
        self._lane = lane
        self._available = available
        self._soon = soon
        self._acted = acted
        # Seconds until the next look while news are left: written by step().
        self._rest = FIRST_REST
        # How to look: set by wake() and signalled(), taken by step(). None for not at all.
        self._asked: Statement | None = None
        # Of releases whose ended batches are still to be told of: written by step().
        self._signatures: list[str] = []

    def wake(self) -> None:
        """There may be news."""
        self._asked = release
        super().wake()

    def signalled(self) -> None:
        """There may be news of signals."""
        self._asked = self._asked or release_signals
        super().wake()

    async def last(self) -> None:
        """Do what it was asked for too late for its last step; after :meth:`stop`."""
        await self.step()

    async def step(self) -> float | None:
        if (statement := self._asked) is None and not self._signatures:
            return None
        statement = statement or release
        self._asked = None
        if statement is release and telemetry.listened("oban.batch.stop"):
            statement = release_and_sign
        began = time.monotonic()
        with telemetry.span("oban.releaser.release", released_count=0) as told:
            try:
                done = Released(await self._lane.run_unshielded(statement))
            except BaseException:
                self._asked = release
                raise
            for ended in done.flows:
                report_end_of_flow(ended)
            told["released_count"] = done.count
        self._acted()
        if done.queues:
            self._available(done.queues)
        if done.has_scheduled:
            self._soon()
        rest = self._next(statement, done)
        if done.signature is not None:
            self._signatures = [*self._signatures[-MOST_UNTOLD:], done.signature]
        while self._signatures:
            await self._tell_of_batches(**json.loads(self._signatures[0]))
            del self._signatures[0]  # not before they are told
        if self._asked is not None and not done.is_felt:
            await self._until_stopped(min(time.monotonic() - began, LONGEST_PAUSE))
        return rest

    def _next(self, statement: Statement, done: Released) -> float | None:
        """When to look again, where news are left."""
        if not done.left:
            self._rest = FIRST_REST
            return None
        self._asked = self._asked or (release if statement is release_and_sign else statement)
        if done.count or done.has_scheduled:
            self._rest = FIRST_REST
            return 0.0
        rest, self._rest = self._rest, min(self._rest * 2, LONGEST_REST)
        return rest

    async def _tell_of_batches(self, xid: int | None, since: str) -> None:
        if xid is None:  # it has written nothing
            return
        for row in await self._lane.run_unshielded(ended_batches, xid=str(xid), since=since):
            report_end_of_batch(row)
