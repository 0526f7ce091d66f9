"""Who leads: one node of an instance, for as long as it renews its lease.

The lease is a row of our own (``oban_sqla:<name>``), taken and renewed by one statement and judged by the database's
clock. The leader also competes for Oban's own row: while it holds that one, the rescuing by time alone that a node of
oban-py would do rests. It steps down by its own clock, with a margin, when it can't renew (River's local deadline);
and whatever it writes carries the lease in its WHERE, because a clock can't help a process that was paused.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ..statements.lead import elect, remaining, resign
from ..telemetry import logger
from .lanes import Lane, StatementFailed
from .loop import Loop

MARGIN = 0.1
"""The share of the lease by which a leader steps down before it ends."""


class Leadership(Loop):
    """Competes for the leases of an instance.

    :param lane: the connection to compete on.
    :param name: of the instance.
    :param node: the node's name.
    :param origin: drawn for this start; makes the holder of the lease unique.
    :param ttl: seconds that a lease lasts; renewed three times as often.
    :param elected: called when this node begins to lead.
    """

    name = "leader"

    def __init__(self, lane: Lane, name: str, node: str, origin: str, ttl: float, elected: Callable[[], None]) -> None:
        super().__init__()
        self.lease = f"oban_sqla:{name}"
        self.holder = f"{node}/{origin}"
        self._oban = (name, node)
        self._lane = lane
        self._ttl = ttl
        self._elected = elected
        self._until = 0.0
        self._since = 0.0
        self._other_until = 0.0
        self._holds_oban = False

    @property
    def leads(self) -> bool:
        """Whether this node leads, by its own clock. Never write on this alone: see `holds_lease`."""
        return time.monotonic() < self._until

    @property
    def somebody_leads(self) -> bool:
        """Whether this node or, when it last looked, another one held the lease."""
        return self.leads or time.monotonic() < self._other_until

    @property
    def age(self) -> float:
        """For how many seconds this node has led without a break; 0 when it does not."""
        return time.monotonic() - self._since if self.leads else 0.0

    @property
    def token(self) -> dict[str, str]:
        """The parameters of `holds_lease`."""
        return {"lease": self.lease, "holder": self.holder}

    async def step(self) -> float | None:
        asked = time.monotonic()
        oban_name, node = self._oban
        held = await self._lane.run(elect, names=[self.lease, oban_name], holders=[self.holder, node], ttl=self._ttl)
        names = {row[0] for row in held}
        self._holds_oban = oban_name in names
        if self.lease in names:
            led = self.leads
            # Counted from before the statement, so that the row outlives our own belief in it.
            self._until = asked + self._ttl * (1 - MARGIN)
            if not led:
                self._since = asked
                logger.info("%s leads %s", self.holder, self.lease)
                self._elected()
            return self._ttl / 3
        self._until = 0.0
        left = await self._lane.run(remaining, lease=self.lease)
        wait = float(left[0][0]) if left else 0.0
        self._other_until = time.monotonic() + wait
        return min(wait + 0.05, self._ttl)

    async def resign(self) -> bool:
        """Give the lease up, so that a successor need not wait for its end. True when there was one."""
        led, self._until = self.leads, 0.0
        oban_name, node = self._oban
        names, holders = ([self.lease], [self.holder])
        if self._holds_oban:
            names, holders = [*names, oban_name], [*holders, node]
        try:
            await self._lane.run(resign, names=names, holders=holders)
        except StatementFailed as error:
            logger.warning("the lease of %s stays until it ends: %s", self.holder, error)
        return led
