"""What operators ask of this node: which queues run here and how, and which running jobs are to stop.

The rows say so; a signal only says that it is time to look. So what was asked survives restarts, and works where no
notification arrives: a node looks every five seconds, and with every poll while it does not listen.
(Oban Pro's DynamicQueues keeps queues in rows as well.)
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeGuard, cast

from ..errors import InvalidOption, refuse_unknown
from ..models.checks import check_name
from ..models.queue import EVERY_NODE
from ..options.queue import LIMITS, Queue
from ..statements.control import ask, orders
from ..statements.roster import members
from ..statements.wire import FOREIGN, ident
from ..telemetry import queue_logger as logger
from .config import Config
from .lanes.failure import StatementFailed
from .lanes.lane import Lane
from .loop import Loop
from .producer import Producer
from .producers import Producers
from .row import Row

MOST_FOREIGN = 100
"""Signals of other programs that are kept until the next step; more are dropped."""
LOOK_EVERY = 5.0
"""Seconds between two looks when no signal arrives."""
LOOK_UNHEARD_EVERY = 1.0
"""Seconds, at most, between two looks of a node that does not listen: it sees a suspended queue within a second."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked of a queue; None where nothing was."""

    started: bool | None = None
    paused: bool | None = None
    limit: int | None = None
    limits: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Of the cluster, as JSON keeps them: None for one that was lifted."""
    forget_limit: bool = False
    """Whether what was asked of the limit before no longer counts."""

    def over(self, other: Asked) -> Asked:
        """Both together: what this one says overrides `other`."""
        return Asked(
            other.started if self.started is None else self.started,
            other.paused if self.paused is None else self.paused,
            other.limit if self.limit is None else self.limit,
            {**other.limits, **self.limits},
        )

    def options(self, configured: Queue | None) -> Queue | None:
        """How the queue is to run on a node that is configured like this; None: not at all."""
        started = configured is not None if self.started is None else self.started
        if not started or (configured is None and self.limit is None):
            return None
        base = Queue() if configured is None else configured
        limit = base.limit if self.limit is None else self.limit
        paused = base.paused if self.paused is None else self.paused
        return replace(base, limit=limit, paused=paused).with_limits(self.limits)


class Control(Loop):
    """Looks for what was asked, and does it.

    :param lane: the connection to look on.
    :param config: names the instance and the node, and the queues that run unless something else was asked.
    :param producers: those of the node, which are started, changed and ended here.
    :param beat: tells the cluster how the producers are now.
    :param listens: whether notifications reach this node.
    """

    name = "control"

    def __init__(
        self,
        *,
        lane: Lane,
        config: Config,
        producers: Producers,
        beat: Callable[[], None],
        listens: Callable[[], bool],
    ) -> None:
        super().__init__()
        # Given, and never written again.
        self._lane = lane
        self._config = config
        self._producers = producers
        self._beat = beat
        self._listens = listens
        # What was asked of each queue: written by read().
        self._asked: dict[str, Asked] = {}
        # For how many seconds each suspended queue was so at the last look: written by read().
        self._suspended: dict[str, float] = {}
        # When, by the monotonic clock, this node itself has suspended a queue: written by suspended().
        self._suspended_here: dict[str, float] = {}
        # The producers that finish what runs: written by look(), _see_end() and stop().
        self._ending: dict[str, asyncio.Task[None]] = {}
        # Signals of other programs that are still to be kept: written by hear(), taken by step().
        self._foreign: list[dict[str, Any]] = []
        # Held by look(), which the loop and operations call.
        self._looking = asyncio.Lock()
        # Whether to look at the next step whatever the time: set by wake(), cleared by look().
        self._hurry = True
        # When, by the monotonic clock, it last looked: written by look().
        self._looked = 0.0

    @property
    def known(self) -> set[str]:
        """The queues that this node has heard of."""
        return {*self._config.queues, *self._asked, *self._producers}

    def wake(self) -> None:
        self._hurry = True
        super().wake()

    def hear(self, signal: dict[str, Any]) -> None:
        """A signal arrived."""
        if signal.get(FOREIGN) and len(self._foreign) < MOST_FOREIGN:
            self._foreign.append(signal)
        self.wake()

    def suspended(self, queue: str, seconds: float) -> None:
        """This node has suspended `queue`. A look that is under way may have looked before that."""
        self._suspended_here[queue] = time.monotonic()
        self._producers.suspend(queue, seconds)

    def wanted(self) -> dict[str, Queue]:
        """The queues that should run in this process now, and how."""
        nothing = Asked()
        configured = self._config.queues
        options = {
            queue: self._asked.get(queue, nothing).options(configured.get(queue))
            for queue in (*configured, *(queue for queue in self._asked if queue not in configured))
        }
        of_node = {queue: given for queue, given in options.items() if given is not None}
        parts = {queue: self._config.share.limit(given.limit) for queue, given in of_node.items()}
        return {queue: replace(of_node[queue], limit=part) for queue, part in parts.items() if part}

    async def read(self) -> None:
        """Find out what was asked, and tell the running jobs that are to stop."""
        held = self._held()
        running = [str(job_id) for job_id in held]
        rows = await self._lane.run(orders, name=self._config.name, node=self._config.node, running=running)
        asked: dict[str, Asked] = {}
        # What was asked of this node comes after what was asked of all nodes, and overrides it.
        settings = [row for row in rows if row[0] is not None and row[7] is None]
        for queue, _, started, paused, limit, limits, *_ in sorted(settings, key=_is_own):
            now = Asked(started, paused, _valid(limit), _valid_limits(queue, limits))
            asked[queue] = now.over(asked.get(queue, Asked()))
        self._asked = asked
        self._suspended = {row[0]: float(row[7]) for row in rows if row[7] is not None}
        still = self._held()
        for row in rows:
            # Not a later run of the job, which has ended and was retried while the answer was under way.
            if row[0] is None and still.get(row[6]) is held[row[6]]:
                self.cancel(row[6])

    def _held(self) -> dict[int, Row]:
        return {job_id: row for producer in self._producers.values() for job_id, row in producer.held.items()}

    async def look(self) -> None:
        """Find out what was asked, and do it; nothing once the node stops."""
        async with self._looking:
            if self._stopping:
                return
            self._hurry = False
            try:
                await self._look()
            except BaseException:
                self._hurry = True  # what was to be seen then is still to be seen
                raise

    async def obey(self) -> None:
        """Look for a caller whose change is committed: what fails now is done by the loop, and is not its error."""
        try:
            await self.look()
        except StatementFailed:
            self.wake()

    async def _look(self) -> None:
        began = time.monotonic()
        await self.read()
        self._looked = time.monotonic()
        wanted = self.wanted()
        await self._producers.declare(wanted)
        for queue, producer in self._producers.items():
            if queue in self._ending:
                continue
            if (options := wanted.get(queue)) is None:
                self._ending[queue] = asyncio.create_task(self._see_end(producer))
            elif self._producers.adjust(producer, options):
                logger.info("queue %r now has %s%s", queue, options.described, _paused(options))
                self._beat()
        missing = {queue: options for queue, options in wanted.items() if queue not in self._producers}
        if missing:
            await self._producers.start_queues(missing)
        for queue, producer in self._producers.items():
            if self._suspended_here.get(queue, 0.0) < began:
                producer.suspend(self._suspended.get(queue, 0.0))

    async def step(self) -> float | None:
        if self._foreign:
            # A notification needs no right on any table, so it counts only while another program works on these tables.
            counts = await self._has_others()
            while self._foreign:
                if counts:
                    await self._keep(self._foreign[0])
                del self._foreign[0]  # not before it is kept
        every = LOOK_EVERY if self._listens() else min(self._config.poll_interval, LOOK_UNHEARD_EVERY)
        if self._hurry or not self._listens() or time.monotonic() - self._looked >= LOOK_EVERY:
            await self.look()
        return every

    async def stop(self) -> None:
        """Take no more orders. What is ending goes on to do so."""
        await super().stop()
        async with self._looking:  # of an operation: the queues that it starts are to be stopped with the others
            pass
        ending, self._ending = self._ending, {}
        for task in ending.values():
            task.cancel()  # it only waits; the node's own stop waits for all
        if ending:
            await asyncio.wait(ending.values())

    def cancel(self, job_id: int) -> None:
        """Ask the run of this job to stop, if it is one of ours and was not asked before."""
        for producer in self._producers.values():
            if producer.cancel(job_id):
                return

    async def _see_end(self, producer: Producer) -> None:
        logger.info("queue %r is stopping on this node", producer.queue)
        try:
            await self._producers.end_queue(producer)
        except Exception as error:
            logger.warning("stopping queue %r failed: %s: %s", producer.queue, type(error).__name__, error)
        self._ending.pop(producer.queue, None)
        self.wake()  # it may have been started again meanwhile

    async def _has_others(self) -> bool:
        """Whether a program of the family that is not this one has a producer."""
        return any('"stale_after"' not in (row[4] or "") for row in await self._lane.run(members))

    async def _keep(self, signal: dict[str, Any]) -> None:
        """Make what another program of the family asks our own: write the row."""
        action, whom, queue = (signal.get(key) for key in ("action", "ident", "queue"))
        own = ident(self._config.name, self._config.node)
        if whom not in (None, "any", own):
            return
        if action == "pkill" and isinstance(job_id := signal.get("job_id"), int):
            self.cancel(job_id)
            return
        asked = _foreign_order(signal)
        if asked is None or not _is_name(queue):
            logger.debug("ignored a signal that is not valid")
            return
        node = self._config.node if whom == own else EVERY_NODE
        for name in sorted(self.known) if queue == "*" else [queue]:
            await self._lane.run(
                ask,
                name=self._config.name, queue=name, node=node,
                started=asked.started, paused=asked.paused, local_limit=asked.limit, limits=None, forget=False,
            )  # fmt: skip


def _foreign_order(signal: Mapping[str, Any]) -> Asked | None:
    limit = _valid(signal.get("limit"))
    match signal.get("action"):
        case "pause":
            return Asked(paused=True)
        case "resume":
            return Asked(paused=False)
        case "scale" if limit is not None:
            return Asked(limit=limit)
        case "start" if limit is not None:
            return Asked(started=True, paused=bool(signal.get("paused")), limit=limit)
        case "stop":
            return Asked(started=False)
        case _:
            return None


def _valid(limit: object) -> int | None:
    """A limit, or None for what is not a valid limit: another program may write anything."""
    try:
        return Queue(limit=limit).limit if isinstance(limit, int) else None
    except InvalidOption:
        return None


def _is_name(queue: object) -> TypeGuard[str]:
    try:
        return check_name("queue", queue) is queue
    except InvalidOption:
        return False


def _valid_limits(queue: str, text: str | None) -> Mapping[str, Any]:
    """The limits that were asked of `queue`, or none where they are not valid: another program may write anything."""
    if text is None:
        return {}
    try:
        read: object = json.loads(text)
        if not isinstance(read, dict):
            raise TypeError("expected an object of JSON")
        limits = cast(dict[str, Any], read)
        refuse_unknown(limits, LIMITS, f"queue {queue!r}")
        Queue().with_limits(limits)
    except (InvalidOption, TypeError, ValueError, RecursionError) as error:
        logger.warning("ignored the limits that were set for queue %r, which are not valid: %s", queue, error)
        return {}
    return limits


def _is_own(row: Sequence[Any]) -> bool:
    return bool(row[1])


def _paused(options: Queue) -> str:
    return ", paused" if options.paused else ""
