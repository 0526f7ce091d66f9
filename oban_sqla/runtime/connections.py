"""The connections of a node: how many there are, and what each is for."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Generator, Iterable, Sequence

from sqlalchemy.ext.asyncio import AsyncEngine

from ..errors import InvalidOption
from ..statements.backend import backend
from ..statements.cluster import beat, claim
from ..statements.control import orders
from ..statements.fetch import fetch
from ..statements.identify import Identity, identify
from ..statements.indexes import built_indexes
from ..statements.subscriptions import subscriptions
from ..statements.version import schemas_with_tables, tables_version
from ..workers.registry import workers
from .lanes.failure import StatementFailed
from .lanes.lane import Lane
from .lanes.line import Line
from .lanes.pooler import find_pooler
from .lanes.settings import INSERT_ONCE, PLAN_ONCE
from .notifier import TIMEOUT

CONNECTIONS = (
    "A node holds four connections beside the engine's pool, two if it runs no queues, one more from the first "
    "`oban.enqueue()` or `oban.signal()` on, one more from the first progress, event or log line of its jobs on, one "
    "more from the first step of a job on, up to four while many jobs take steps at once, and one more from the first "
    "end of a job in a flow, batch or chain, and the first wait for a signal on. Beside other queues, each queue with "
    "a global limit, a rate limit or a partition has one more, up to four; further ones share them. A leader holds "
    "one more, and opens up to two for a moment, to prune and to enqueue cron jobs."
)
"""Their number, in the words of the documentation and of the doctor."""


UNTIL_FETCH = (backend, identify, tables_version, orders, claim, beat, fetch)
"""The statements from connecting to the first fetch."""

SILENT = 5.0
"""Seconds without any answer after which a node that stops gives its server up."""

_NO_TABLE = "42P01"


MOST_LIMITED = 4
"""Connections for fetching from queues with limits beside other queues."""

MOST_FOR_STEPS = 4
"""Connections for the steps of jobs."""


class Connections:
    """The lanes of a node, each with its own connection, which is made when it is first used.

    :param engine: the user's; lanes connect like it, apart from its pool.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self.line = Line(engine)
        self.upkeep = Lane(self.line, "upkeep")
        """For the lease, staging or polling, what operators ask for, and telling the other nodes."""
        self.listening = Lane(self.line, "listening", timeout=TIMEOUT)
        """Hears notifications; its session holds the locks of the producers."""
        # Fetching and acknowledging overlap, which is worth half as much again.
        self.fetching = Lane(self.line, "fetching", plans=PLAN_ONCE)
        """From the first queue on."""
        self.acking = Lane(self.line, "acking", plans=PLAN_ONCE)
        """From the first queue on."""
        # A fetch from a queue with limits waits for those of other nodes.
        self.limited = [
            Lane(self.line, f"fetching with limits {number}", plans=PLAN_ONCE) for number in range(MOST_LIMITED)
        ]
        """For queues with limits, beside others."""
        self.leading = Lane(self.line, "leading")
        """For what only a leader does and may take a while; closed by nodes that do not lead."""
        self.pruning = Lane(self.line, "pruning")
        """Closed after each round."""
        self.inserting = Lane(self.line, "inserting", plans=INSERT_ONCE)
        """From the first `oban.enqueue()` or `oban.signal()` on."""
        self.releasing = Lane(self.line, "releasing")
        """From the first job of a flow, batch or chain on."""
        self.telling = Lane(self.line, "telling")
        """From the first progress, event or log line of a job on."""
        self.steps = [Lane(self.line, f"steps {number}", plans=PLAN_ONCE) for number in range(MOST_FOR_STEPS)]
        """From the first step, sleep or wait of a job on; the others while many jobs take steps at once."""

    async def reach(self, *, fetches: bool) -> Identity:
        """Connect for the first time, and find out what the database is.

        :param fetches: whether there are queues.
        :returns: which database it is.
        :raises StatementFailed: when it does not answer.
        :raises DatabaseUnavailable: when the engine's settings do not work behind a transaction pooler.
        """
        lanes = [self.upkeep, self.listening, *((self.fetching, self.acking) if fetches else ())]
        await asyncio.gather(connect(lanes), self._prepare())
        if self.line.pooled is None:
            await find_pooler(self.line, self.upkeep)
        await connect(lanes)  # set up for what is known of the line now; it listens before it asks who leads
        [(server, database)] = await self.upkeep.run(identify)
        return (server, database)

    async def version(self) -> int:
        """The version of the tables in the database, 0 when there are none.

        :raises StatementFailed: when it can't be read.
        """
        try:
            [(found,)] = await self.upkeep.run(tables_version)
        except StatementFailed as error:
            if error.sqlstate == _NO_TABLE:
                return 0
            raise
        return int(found)

    async def schemas(self) -> list[str]:
        """The schemas of the database that have tables of the queue."""
        return [str(name) for (name,) in await self.upkeep.run(schemas_with_tables)]

    async def indexes(self, names: Sequence[str]) -> set[str]:
        """Which of the indexes `names` the jobs table has, ready for use."""
        return {str(name) for (name,) in await self.upkeep.run(built_indexes, names=[*names])}

    async def subscriptions(self) -> list[str]:
        """The subscriptions that write the jobs table, which is then a copy of another database's."""
        return [str(name) for (name,) in await self.upkeep.run(subscriptions)]

    async def _prepare(self) -> None:
        """Do what takes milliseconds the first time in a process, while the connections are made."""
        await self.line.compile(UNTIL_FETCH)
        for worker in workers.distinct():
            if (arguments := worker.arguments) is not None:
                with contextlib.suppress(InvalidOption):  # the run of a job says it
                    arguments.prepare()
                return

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """All lanes of the node."""
        return (
            self.fetching, self.acking, self.leading, self.pruning, self.inserting, self.telling,
            self.upkeep, self.listening, self.releasing, *self.steps, *self.limited,
        )  # fmt: skip

    @contextlib.contextmanager
    def while_it_answers(self) -> Generator[None]:
        """From now on the server may be silent for :data:`SILENT`; then whatever waits for it fails, and is not sent.

        For the end of a node: there each loop would wait for its own time-out, one after the other.
        """
        timer: asyncio.TimerHandle | None = None
        loop = asyncio.get_running_loop()

        def look() -> None:
            nonlocal timer
            silent = time.monotonic() - max(lane.answered_at for lane in self.lanes)
            if silent < SILENT:
                timer = loop.call_later(SILENT - silent, look)
                return
            for lane in self.lanes:
                lane.give_up()

        for lane in self.lanes:
            lane.hurry = SILENT / 2
        timer = loop.call_later(SILENT, look)
        try:
            yield
        finally:
            timer.cancel()
            for lane in self.lanes:
                lane.hurry = math.inf
                lane.resume()

    async def close(self) -> list[BaseException]:
        """Close all of them. Returns what went wrong on the way."""
        lanes = self.lanes
        outcomes = await asyncio.gather(*(lane.close() for lane in lanes), return_exceptions=True)
        await self.line.close()
        return [outcome for outcome in outcomes if isinstance(outcome, BaseException)]


async def connect(lanes: Iterable[Lane]) -> None:
    """Connect `lanes` at the same time.

    :raises StatementFailed: when one can't be connected.
    """
    for outcome in await asyncio.gather(*(lane.connect() for lane in lanes), return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
