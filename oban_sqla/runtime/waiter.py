"""Waiting for the ends of jobs, for a whole node: one statement looks up every job that is waited for.

The node tells the others for which jobs it waits. A node that has acknowledged one of these notifies; jobs for which no
program waits cost a look into an empty set. What no notification says (a job that ended before the others heard of the
wait, another program's job, one that was cancelled while it waited) is found by looking once a second.

A workflow is waited for by minus its id. A node that has acted on news looks which of them have finished.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, cast

from ..models.checks import is_id
from ..statements.notify import notify_at_once
from ..statements.outcomes import finished_flows, outcomes
from ..statements.wire import AWAITED, SETTLED, channel
from ..types import FINISHED
from .lanes.lane import Lane
from .loop import Loop

LOOK_EVERY = 1.1
"""Seconds between two looks at every job, where notifications arrive."""
LOOK_AGAIN = 0.025
"""Seconds until the second look at a new one: the other nodes have heard of it by then."""
REMIND_EVERY = 30.0
"""Seconds after which the other nodes are told again; one may be new."""
REMEMBERED = 75.0
"""Seconds for which a node remembers what others wait for."""
SOME_REMEMBERED, MOST_REMEMBERED = 2_000, 200_000
"""Above the first, those that are too old are forgotten; above the second, no more are remembered."""
IDS_PER_MESSAGE = 300
"""A notification has room for 8,000 bytes."""
FIRST_WAIT = 0.010
LONGEST_WAIT = 0.5
"""Seconds between two looks where no notification arrives: at first, and in the end."""

DELETED = "deleted"
"""The state of a job that was there, and is not any more."""


class Seen(NamedTuple):
    """How far a job is; see :data:`outcomes`. The state is :data:`DELETED` where its row is gone."""

    id: int
    state: str
    failures: int
    error: str | None
    value: str | None
    is_large: bool
    worker: str
    has_flow: bool


class Wait:
    """One wait for one job or workflow.

    :param job_id: its id; minus that of a workflow.
    :param with_retries: whether it goes on when an attempt fails and the job will be retried.
    :param told: called when it is over, or given up by the node.
    """

    __slots__ = ("_failures", "_told", "_with_retries", "id", "is_over", "seen", "trouble")

    def __init__(self, job_id: int, with_retries: bool, told: Callable[[Wait], None]) -> None:
        self.id = job_id
        self.seen: Seen | None = None
        """What was seen last. Written by see() and miss()."""
        self.is_over = False
        """Whether the job has ended as the wait asks, and is not looked for any more. Written by see() and miss()."""
        self.trouble: str | None = None
        """What has kept the last look from an answer. Written by whatever looks without a waiter."""
        self._with_retries = with_retries
        self._told = told
        # How many attempts had failed at the first look: written by see().
        self._failures: int | None = None

    def see(self, seen: Seen) -> None:
        """A look has found this."""
        self.seen = seen
        # A failure may have been retried already between two looks.
        self._failures = seen.failures if self._failures is None else self._failures
        has_failed = seen.state == "retryable" or seen.failures > self._failures
        if not self.is_over and (seen.state in FINISHED or (has_failed and not self._with_retries)):
            self.is_over = True
            self._told(self)

    def miss(self) -> None:
        """A look has found no such job. One that was never seen may not be committed yet."""
        if self.seen is not None and not self.is_over:
            self.seen = self.seen._replace(state=DELETED)
            self.is_over = True
            self._told(self)

    def give_up(self) -> None:
        """The node stops; the wait may go on elsewhere."""
        self._told(self)


class Waiter(Loop):
    """Looks for the ends of the jobs that this node waits for, and tells other nodes of the ends that they wait for.

    :param lane: the connection to look and to notify on.
    :param schema: where the tables live; the channels are named by it.
    :param origin: identifies the sender, because a listener hears its own notifications, too.
    :param listens: whether notifications reach this node.
    """

    name = "waiter"

    def __init__(self, *, lane: Lane, schema: str | None, origin: str, listens: Callable[[], bool]) -> None:
        super().__init__()
        # Given, and never written again.
        self._lane = lane
        self._schema = schema
        self._origin = origin
        self._listens = listens
        # The waits by the job's id: written by add() and remove().
        self._waits: dict[int, list[Wait]] = {}
        # Those that the other nodes have not been told of, and when they are all told again: written by add(),
        # remove(), connected() and step().
        self._untold: set[int] = set()
        self._remind_at = 0.0
        # Jobs that are said to have ended: written by settled(), acted() and heard(), taken by step().
        self._hinted: set[int] = set()
        # Looks at some jobs, each with its time: written by step(). When all are looked at next: written by step() and
        # connected(). For how long that is put off, more each time: written by step() and add().
        self._again: list[tuple[float, set[int]]] = []
        self._look_at = 0.0
        self._interval = FIRST_WAIT
        # What other nodes wait for, each until when: written by heard() and _forget().
        self._asked: dict[int, float] = {}
        # Of these, the jobs that have ended here: written by settled(), taken by _tell_of_ends().
        self._ended: set[int] = set()
        # Whether workflows of others' waits may have finished here: written by acted(), taken by _tell_of_ends().
        self._released = False

    def add(self, waits: Iterable[Wait]) -> None:
        """Wait for these."""
        for wait in waits:
            self._waits.setdefault(wait.id, []).append(wait)
            self._untold.add(wait.id)
        self._interval = FIRST_WAIT
        self.wake()

    def remove(self, waits: Iterable[Wait]) -> None:
        """The end of :meth:`add`."""
        for wait in waits:
            same = self._waits.get(wait.id, [])
            if wait in same:
                same.remove(wait)
            if not same:
                self._waits.pop(wait.id, None)
                self._untold.discard(wait.id)

    async def look(self, waits: Sequence[Wait]) -> None:
        """Look now, for a caller that would give something up to wait."""
        show(await self._lane.run(outcomes, ids=[str(wait.id) for wait in waits]), waits)

    def settled(self, job_id: int) -> None:
        """The job was acknowledged by this node."""
        if self._waits and job_id in self._waits:
            self._hinted.add(job_id)
            self.wake()
        if self._asked and job_id in self._asked:
            self._ended.add(job_id)
            self.wake()

    def acted(self) -> None:
        """This node has acted on news: workflows may have finished."""
        if flows := {one for one in self._waits if one < 0}:
            self._hinted |= flows
            self.wake()
        if any(one < 0 for one in self._asked):
            self._released = True
            self.wake()

    def heard(self, name: str, payload: dict[str, Any]) -> None:
        """Another node has notified: of what it waits for, or of jobs that have ended there."""
        ids: object = payload.get("ids")
        numbers = {one for one in cast(list[object], ids) if is_id(one)} if isinstance(ids, list) else set[int]()
        if name == SETTLED:
            if hinted := numbers & self._waits.keys():
                self._hinted |= hinted
                self.wake()
            return
        until = time.monotonic() + REMEMBERED
        if len(self._asked) > SOME_REMEMBERED:
            self._forget()
        if len(self._asked) + len(numbers) <= MOST_REMEMBERED:
            self._asked.update(dict.fromkeys(numbers, until))

    def connected(self) -> None:
        """This node listens anew: something may have been missed, and other nodes may be new."""
        if self._waits:
            self._look_at = self._remind_at = 0.0
            self.wake()

    async def stop(self) -> None:
        """End; what still waits is given up."""
        await super().stop()
        for wait in [wait for same in self._waits.values() for wait in same]:
            wait.give_up()

    async def last(self) -> None:
        """Tell of what has ended too late for the last step; after :meth:`stop`."""
        await self._tell_of_ends()

    async def step(self) -> float | None:
        await self._tell_of_ends()
        if not self._waits:
            self._hinted.clear()
            self._again.clear()
            return None
        now = time.monotonic()
        listens = self._listens()
        fresh, self._untold = self._untold, set()
        try:
            if listens and (fresh or now >= self._remind_at):
                await self._tell(fresh, now)
            ids = self._due(now) | fresh
            if ids:
                await self._look(ids)
        except Exception:
            self._untold |= fresh & self._waits.keys()
            raise
        if fresh and listens:
            self._again.append((time.monotonic() + LOOK_AGAIN, fresh))
        due = min([self._look_at, *(at for at, _ in self._again)])
        return max(due - time.monotonic(), 0.001)

    async def _tell_of_ends(self) -> None:
        """Tell the other nodes which of the jobs and workflows have ended for which they wait."""
        if self._released:
            self._released = False  # before the look: what finishes while it is under way may not be in it
            try:
                finished = await self._finished({one for one in self._asked if one < 0})
            except Exception:
                self._released = True
                raise
            self._ended |= finished
        if self._ended:
            ended, self._ended = self._ended, set()
            try:
                await self._notify(SETTLED, ended)
            except Exception:
                self._ended |= ended
                raise

    async def _tell(self, fresh: set[int], now: float) -> None:
        """Tell the other nodes what this one waits for: of what is new, or of all when it is time to remind them."""
        if now < self._remind_at:
            await self._notify(AWAITED, fresh)
            return
        await self._notify(AWAITED, self._waits.keys())
        self._remind_at = now + REMIND_EVERY

    def _due(self, now: float) -> set[int]:
        """The jobs to look at now."""
        ids, self._hinted = self._hinted, set()
        if now >= self._look_at:
            if self._listens():
                self._look_at = now + LOOK_EVERY
            else:
                self._look_at = now + self._interval
                self._interval = min(self._interval * 1.5, LONGEST_WAIT)
            self._again.clear()
            return set(self._waits)
        for at, some in self._again:
            if at <= now:
                ids |= some
        self._again = [(at, some) for at, some in self._again if at > now]
        return ids & self._waits.keys()

    async def _look(self, ids: set[int]) -> None:
        jobs = {one for one in ids if one >= 0}
        # Those of now: one that comes while the statement is under way is not to see what was there before it.
        waits = {one: [*self._waits.get(one, ())] for one in ids}
        try:
            rows: Sequence[Any] = ()
            if jobs:
                rows = await self._lane.run_unshielded(outcomes, ids=[str(job_id) for job_id in jobs])
            finished = await self._finished(ids - jobs)
        except Exception:
            self._hinted |= ids
            raise
        show(rows, [wait for job_id in jobs for wait in waits[job_id]])
        for flow in finished:
            for wait in waits[flow]:
                wait.see(Seen(flow, "completed", 0, None, None, False, "", False))

    async def _finished(self, flows: set[int]) -> set[int]:
        """Which of the workflows have finished, given and returned by minus their ids."""
        if not flows:
            return set()
        rows = await self._lane.run_unshielded(finished_flows, ids=[str(-flow) for flow in flows])
        return {-flow for (flow,) in rows}

    async def _notify(self, name: str, ids: Iterable[int]) -> None:
        every = sorted(ids)
        parts = [every[at : at + IDS_PER_MESSAGE] for at in range(0, len(every), IDS_PER_MESSAGE)]
        await self._lane.run_unshielded(
            notify_at_once,
            channels=[channel(name, self._schema)] * len(parts),
            payloads=[json.dumps({"ids": part, "from": self._origin}, separators=(",", ":")) for part in parts],
        )

    def _forget(self) -> None:
        now = time.monotonic()
        self._asked = {job_id: until for job_id, until in self._asked.items() if until > now}


def show(rows: Iterable[Any], waits: Iterable[Wait]) -> None:
    """Let `waits` see what :data:`outcomes` has answered of their jobs."""
    by_id = {row[0]: Seen._make(row) for row in rows}
    for wait in waits:
        if (seen := by_id.get(wait.id)) is None:
            wait.miss()
        else:
            wait.see(seen)
