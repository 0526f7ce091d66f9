"""Who leads: one node of an instance, for as long as it renews its lease.

The lease is our own row (``oban_sqla:<name>``), taken and renewed by one statement and judged by the database's
clock. Its holder competes for Oban's own row too: while that one is ours, no node of oban-py leads, so none rescues by
time alone. A leader steps down by its own clock, with a margin, when it can't renew (River's local deadline); and each
of its writes carries the lease in its WHERE, because a clock can't help a process that was paused.

Telemetry: the span ``oban.leader.election`` with ``leader``, of an election and of a resignation.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable

from ... import telemetry
from ...statements.lead import elect, resign
from ...statements.wire import LEADER, channel
from ...telemetry import leader_logger as logger
from ..lanes.failure import StatementFailed
from ..lanes.lane import Lane
from ..loop import Loop

RENEWALS = 3
"""How often a lease is renewed while it lasts."""

MARGIN = 0.1
"""The share of the lease by which a leader steps down before it ends."""


class Leadership(Loop):
    """Competes for the lease of an instance.

    :param lane: the connection to compete on.
    :param schema: where the tables live; names the channel on which a resignation is announced.
    :param name: of the instance.
    :param node: the node's name.
    :param origin: drawn for this start; makes the holder of the lease unique.
    :param ttl: seconds that a lease lasts.
    :param elected: called when this node begins to lead.
    :param competes: False: this node never leads. Default: True.
    """

    name = "leader"

    def __init__(
        self,
        *,
        lane: Lane,
        schema: str | None,
        name: str,
        node: str,
        origin: str,
        ttl: float,
        elected: Callable[[], None],
        competes: bool = True,
    ) -> None:
        super().__init__()
        self.lease = f"oban_sqla:{name}"
        self.holder = f"{node}/{origin}"
        # Given, and never written again.
        self._oban = name
        self._channel = channel(LEADER, schema)
        self._resignation = json.dumps({"action": "resign", "name": name, "node": node, "from": origin})
        self._lane = lane
        self._ttl = ttl
        self._competes = competes
        self._elected = elected
        # Until when this node leads, by its own clock: written by step() and resign().
        self._until = 0.0
        # When it began to lead: written by step(), at an election.
        self._since = 0.0

    @property
    def leads(self) -> bool:
        """Whether this node leads, by its own clock. Never write on this alone: see `holds_lease`."""
        return time.monotonic() < self._until

    @property
    def age(self) -> float:
        """For how many seconds this node has led without a break; 0 when it does not."""
        return time.monotonic() - self._since if self.leads else 0.0

    @property
    def token(self) -> dict[str, str]:
        """The parameters of `holds_lease`."""
        return {"lease": self.lease, "holder": self.holder}

    async def step(self) -> float | None:
        if not self._competes:
            return None
        asked, led = time.monotonic(), self.leads
        with telemetry.span("oban.leader.election", leader=led) as told:
            [(leads, _, left)] = await self._lane.run(elect, **self.token, oban=self._oban, ttl=self._ttl)
            told["leader"] = leads
        # Now, not before the statement: while it was under way the lease may have ended by our own clock, and what
        # a leader does has stopped until the next election.
        unbroken = led and self.leads
        if not leads:
            self._until = 0.0
            if led:
                logger.warning("%s no longer leads %s: another node took the lease", self.holder, self.lease)
            # No row: another node has taken the lease this moment, and the next look can read it.
            return min(self._ttl / RENEWALS if left is None else float(left), self._ttl) + random.uniform(0.01, 0.1)
        # Counted from before the statement, so that the row outlives our own belief in it.
        self._until = asked + self._ttl * (1 - MARGIN)
        if not unbroken:
            self._since = asked
            logger.info("%s leads %s", self.holder, self.lease)
            self._elected()
        return self._ttl / RENEWALS

    async def resign(self) -> None:
        """Give the lease up and tell the others, so that a successor need not wait for its end. The loop has ended."""
        if not self._competes:
            return
        self._until = 0.0
        with telemetry.span("oban.leader.election", leader=False):
            try:
                await self._lane.run(
                    resign,
                    names=[self.lease, self._oban],
                    holder=self.holder,
                    channel=self._channel,
                    payload=self._resignation,
                )
            except StatementFailed as error:
                said = "could not release the lease of %s, which lasts until it expires: %s"
                logger.warning(said, self.holder, error)
