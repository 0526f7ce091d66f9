"""The lifeline: gives the jobs of dead nodes to living ones, and mends what no node would ever touch again.

Every `lifeline_interval` the leader looks at the producers. One is dead when

- its heartbeat is stale (`stale_after`, 15 s) and no connection holds its lock, or
- its heartbeat is stale for four times as long (60 s), where it never had a lock: behind a transaction pooler, or a
  producer of oban-py; or its row is missing for as long, while it has executing jobs; or
- its heartbeat is stale for `dead_after` (an hour), and the leader has itself seen it silent for so long, whatever its
  lock says: some connections lie.

What is seen is believed only when it lasts: the leader has led, on one connection, for `stale_after`, and has itself
seen the producer silent for half of that. After a crash of the server, which empties the table of producers, after an
outage, or when the database's clock is set, every living node so has the time to show itself.

Telemetry: the span ``oban.lifeline.rescue`` with ``rescued_count``, and ``available_count``, ``retryable_count``,
``discarded_count`` and ``cancelled_count``, which add up to it; ``oban.lifeline.discard`` with ``job_id worker queue
attempt``, for each job that is discarded.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ... import telemetry
from ...options.heartbeat import Heartbeat, patience, stale_after
from ...statements.cluster import bury, look
from ...statements.rescue import DISCARD_EXHAUSTED, RESCUE
from ..batches import Batches
from ..lanes.lane import Lane
from ..refusals import Refusals
from .duty import Duty
from .leader import Leadership

BATCH = 500
REPAIR_EVERY = 30.0


@dataclass(slots=True)
class Watch:
    """What this leader has itself seen of a producer, by its own clock."""

    beat: str | None
    silent_since: float
    unlocked_since: float | None


class Lifeline(Duty):
    """Rescues the jobs of dead producers. Holds its connection only while its node leads.

    :param lane: the connection for duties that only a leader has; closed here when the node no longer leads.
    :param leadership: says whether, and since when, this node leads.
    :param heartbeat: after what time a silent producer is dead.
    :param interval: seconds between two looks.
    :param available: called with the queues that have available jobs now.
    :param refusals: the jobs that the database refuses to change.
    """

    name = "lifeline"

    def __init__(
        self,
        *,
        lane: Lane,
        leadership: Leadership,
        heartbeat: Heartbeat,
        interval: float,
        available: Callable[[set[str]], None],
        refusals: Refusals,
    ) -> None:
        super().__init__(lane=lane, leadership=leadership)
        # Given, and never written again.
        self._heartbeat = heartbeat
        self._interval = interval
        self._available = available
        self._batches = Batches(lane, refusals, BATCH)
        # The number of the connection on which the cluster is seen, and since when: written by _dead().
        self._connection: int = 0
        self._connected_since = 0.0
        # What was seen of each producer: written by _dead() and follow().
        self._watched: dict[str, Watch] = {}
        # When what no node would touch is mended next: written by _repair_if_due().
        self._repair_at = 0.0

    async def lead(self) -> float | None:
        dead = self._dead(await self._lane.run(look))
        if dead:
            with telemetry.span("oban.lifeline.rescue") as told:
                told.update(await self._rescue(list(dead)))
            beats = {key: beat for key, beat in dead.items() if beat is not None}
            await self._lane.run(bury, dead=list(beats), beats=list(beats.values()), **self._leadership.token)
        await self._repair_if_due()
        blind = self._heartbeat.stale_after - self._sight
        return min(self._interval, blind + 0.01) if blind > 0 else self._interval

    async def follow(self) -> float | None:
        self._watched = {}
        await self._lane.close()
        return None  # until it is elected

    @property
    def _sight(self) -> float:
        """For how long this node has seen the cluster without a break."""
        return min(self._leadership.age, time.monotonic() - self._connected_since)

    @property
    def _patience(self) -> float:
        return patience(self._heartbeat.stale_after)

    def _dead(self, rows: Sequence[Any]) -> dict[str, str | None]:
        """Of what :func:`look` answered, the dead, each with its last heartbeat."""
        now = time.monotonic()
        if self._lane.connections != self._connection:
            self._connection, self._connected_since, self._watched = self._lane.connections, now, {}
        before, self._watched = self._watched, {}
        dead: dict[str, str | None] = {}
        for key, beat, silent, meta, locked in rows:
            watch = before.get(key)
            if watch is None or watch.beat != beat:
                watch = Watch(beat, now, None)
            watch.unlocked_since = None if locked else (watch.unlocked_since or now)
            self._watched[key] = watch
            if self._is_dead(watch, None if silent is None else float(silent), meta, now):
                dead[key] = beat
        return dead if self._sight >= self._heartbeat.stale_after else {}

    def _is_dead(self, watch: Watch, silent: float | None, meta: str | None, now: float) -> bool:
        limits, seen = self._heartbeat, now - watch.silent_since
        unlocked = 0.0 if watch.unlocked_since is None else now - watch.unlocked_since
        if watch.beat is None:
            return unlocked >= self._patience
        if silent is None:
            silent = seen
        if seen < limits.stale_after / 2:
            return False
        if min(silent, seen) >= limits.dead_after:  # by either clock: the database's may have been ahead
            return True
        return unlocked >= limits.stale_after / 2 and silent >= stale_after(meta, limits.stale_after)

    async def _rescue(self, dead: list[str]) -> dict[str, int]:
        states: Counter[str] = Counter()
        while self._leadership.leads:
            given = {"dead": dead, "patience": self._patience, **self._leadership.token}
            rows, full = await self._batches.run(RESCUE, BATCH, **given)
            states.update(state for _, _, state, *_ in rows)
            for id, queue, state, worker, attempt in rows:
                if state == "discarded":
                    _tell_discarded(id, queue, worker, attempt, "its node died, and it has no attempt left")
            if queues := {queue for _, queue, state, *_ in rows if state == "available"}:
                self._available(queues)
            if not full:
                break
        if states:
            found = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
            telemetry.leader_logger.warning("rescued the jobs of %d dead producers: %s", len(dead), found)
        counts = {f"{state}_count": states[state] for state in ("available", "retryable", "discarded", "cancelled")}
        return {"rescued_count": states.total()} | counts

    async def _repair_if_due(self) -> None:
        if (now := time.monotonic()) < self._repair_at:
            return
        self._repair_at = now + REPAIR_EVERY
        while self._leadership.leads:
            rows, full = await self._batches.run(DISCARD_EXHAUSTED, BATCH, **self._leadership.token)
            for id, queue, worker, attempt in rows:
                _tell_discarded(id, queue, worker, attempt, "it was available with no attempt left")
            if not full:
                return


def _tell_discarded(id: int, queue: str, worker: str, attempt: int, why: str) -> None:
    """What runs is told of by its node; of these jobs there is none."""
    told = {"job_id": id, "worker": worker, "queue": queue, "attempt": attempt}
    telemetry.job_logger.error("job %d (%s) is discarded after attempt %d: %s", id, worker, attempt, why, extra=told)
    telemetry.execute("oban.lifeline.discard", **told)
