"""A queue's rate limit for programs: to count what they do beside its jobs, and to suspend it."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from ..errors import InvalidOption
from ..models.checks import check_time
from ..options.duration import seconds
from ..options.limits import RateLimit
from ..options.payload import encode_value, object_of
from ..options.queue import Queue, reported
from ..runtime.config import Config
from ..runtime.suspensions import report
from ..statements.control import limits_known
from ..statements.identify import schema_of
from ..statements.limiter import available, consume, delay, forget, suspend
from ..statements.notify import notify
from ..statements.statement import Statement
from ..statements.wire import INSERTED, channel, ident, signal_channel
from ..types import worker_name_of
from .audit import note
from .engines import Engines

if TYPE_CHECKING:
    from ..runtime.node import Node

REREAD = 5.0
"""Seconds for which a process that does not run the queue keeps what it has read of its limits."""


LOOK = 1.0
"""Seconds after which a wait looks again in any case: the limit may have been reset, or may be another one."""


class Limiter:
    """The rate limit of a queue, or of one of its partitions, and whether it is suspended.

    Made by :meth:`Oban.limiter`. Each call is a short transaction on a connection of the engine's pool. It holds the
    lock that fetching from the queue takes, so what it says is exact. The node need not be started, nor run the queue.

    :ivar queue: the name of the queue.
    """

    def __init__(
        self, engines: Engines, config: Config, node: Callable[[], Node | None], queue: str, values: str | None
    ) -> None:
        self.queue = queue
        self._engines = engines
        self._config = config
        self._node = node
        self._values = values
        # What was last read of the limits of a queue that this process does not run, and when: written by _options().
        self._read: tuple[float, Queue] | None = None
        self._turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

    async def available(self) -> int:
        """How many starts the rate limit allows now; 0 while it is suspended.

        :returns: the number of starts, each with a weight of 1.
        :raises InvalidOption: for a queue or partition without a rate limit.
        :raises DatabaseUnavailable: when the database can't be reached, or does not answer; nothing was changed.
        """
        row = await self._run(available, **await self._rate())
        return int(row[0])

    async def consume(self, n: int = 1) -> bool:
        """Count starts in the rate limit, if it allows them now; for work that shares a limit with the queue's jobs.

        :param n: how many, 1 or more. Default 1.
        :returns: whether it allowed them. If not, nothing was counted. More than the rate allows in a whole period is
            never allowed.
        :raises InvalidOption: for a number out of range, a queue or partition without a rate limit, or a partition that
            no node has made yet.
        :raises DatabaseUnavailable: when the database can't be reached, or does not answer; nothing was changed.
        """
        _check_number("consume", n)
        row = await self._run(consume, number=n, **await self._rate())
        return bool(row[0])

    async def delay(self, n: int = 1) -> float:
        """In how many seconds the rate limit allows starts, unless others take them; counts nothing.

        ::

            if not await limiter.consume():
                return Snooze(await limiter.delay())

        :param n: how many, 1 or more, and at most what the rate allows in a whole period. Default 1.
        :returns: seconds; 0 if it allows them now. While it is suspended, at least the seconds until that ends.
        :raises InvalidOption: for a number out of range, or a queue or partition without a rate limit.
        :raises DatabaseUnavailable: when the database can't be reached, or does not answer; nothing was changed.
        """
        _check_number("delay", n)
        rate = await self._rate()
        if n > rate["allowed"]:
            raise InvalidOption(
                f"limiter: the rate of queue {self.queue!r} allows at most {rate['allowed']} starts in a period, and "
                f"never {n}; ask for fewer at once"
            )
        return float((await self._run(delay, number=n, **rate))[0])

    async def wait(self, n: int = 1) -> None:
        """Wait until the rate limit allows starts, and count them: as :meth:`consume`, which does not wait.

        Waits of an :class:`Oban` for the same queue or partition get their turn in the order of their calls, so a large
        one holds up those behind it. Between processes, and with the jobs of the queue, the first to ask is served. It
        looks when the rate next allows them, and once a second, so it sees a :meth:`reset` and a changed rate. Nothing
        limits the wait: use ``asyncio.timeout``. A wait that is cancelled may have counted them. A job that waits keeps
        its slot; see :meth:`delay`.

        :param n: how many, 1 or more, and at most what the rate allows in a whole period. Default 1.
        :raises InvalidOption: for a number out of range, a queue or partition without a rate limit, or a partition that
            no node has made yet; also when that is changed during the wait.
        :raises DatabaseUnavailable: when the database can't be reached, or does not answer.
        """
        _check_number("wait", n)
        async with self._turns.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            while not await self.consume(n):
                delay = await self.delay(n)
                await asyncio.sleep(min(delay, LOOK))

    async def reset(self) -> None:
        """Forget what has started, and end a suspension. The queue is fetched from at once.

        :raises InvalidOption: for a partition of a queue that has none, or is partitioned by other fields.
        :raises DatabaseUnavailable: when the database can't be reached, or does not answer; nothing was changed.
        """
        await self._check_partition()
        await self._run(forget, told={"action": "suspend"})

    async def suspend(self, until: float | timedelta | datetime) -> None:
        """Let no job of the queue or partition start for a time, on any node. Running jobs continue.

        A queue without limits and partitions is paused until then, within a second. A suspension that lasts longer
        already is not shortened; :meth:`reset` ends it.

        :param until: seconds, a timedelta, or an aware datetime.
        :raises InvalidOption: for a negative time or a naive datetime, and for a partition of a queue that has none, or
            is partitioned by other fields, or that no node has made yet.
        :raises DatabaseUnavailable: when the database can't be reached, or does not answer; nothing was changed.
        """
        await self._check_partition()
        at = check_time("suspend", until).timestamp() if isinstance(until, datetime) else None
        length = None if isinstance(until, datetime) else seconds(until, "suspend")
        row = await self._run(suspend, at=at, seconds=length, told={"action": "suspend"})
        report(self.queue, "" if self._values is None else f"|{self._values}", float(row[0]))

    async def _run(self, statement: Statement, *, told: dict[str, Any] | None = None, **given: Any) -> Any:
        def run(connection: Connection) -> Any:
            row = statement.execute(connection, queue=self.queue, values=self._values, **given).one()
            if told is not None:
                note(connection)
            if told is not None and self._config.notify != "off":
                schema = schema_of(connection)
                signal = json.dumps(told | {"queue": self.queue, "ident": ident("", None)})
                notify.execute(
                    connection,
                    channels=[signal_channel(schema), channel(INSERTED, schema)],
                    payloads=[signal, json.dumps({"queue": self.queue})],
                )
            return row

        try:
            async with self._engines.transaction() as session:
                row = await (await session.connection()).run_sync(run)
        except IntegrityError:
            if self._values is None:
                raise
            raise InvalidOption(
                f"limiter: no node has run queue {self.queue!r} with its partition on this database, so its keys are "
                f"not known yet; start one, or set it by oban.scale_queue({self.queue!r}, partition=…)"
            ) from None
        if told is not None and (node := self._node()) is not None:
            if node.runs_here:
                await node.control.obey()
            else:
                node.asked()
            node.inserted([self.queue])
        return row

    async def _rate(self) -> dict[str, Any]:
        options = await self._options()
        rate = options.rate_limit
        if self._values is not None:
            self._check_values(options)
            rate = None if options.partition is None else options.partition.rate_limit
        if rate is None:
            what = f"queue {self.queue!r}" if self._values is None else f"the partition of queue {self.queue!r}"
            if self._values is None and options.partition is not None and options.partition.rate_limit is not None:
                raise InvalidOption(
                    f"limiter: {what} has no rate, but each key of its partition has one; name the key: "
                    f"oban.limiter({self.queue!r}, partition=…)"
                )
            raise InvalidOption(f"limiter: {what} has no rate_limit=RateLimit(…), neither here nor on a living node")
        return {"allowed": rate.allowed, "period": rate.seconds, "bucket": rate.algorithm == "token_bucket"}

    async def _check_partition(self) -> None:
        if self._values is not None:
            self._check_values(await self._options())

    def _check_values(self, options: Queue) -> None:
        if options.partition is None:
            raise InvalidOption(f"limiter: queue {self.queue!r} has no partition=Partition(…)")
        wanted, given = options.partition.fields, json.loads(cast(str, self._values))
        if len(given) != len(wanted):
            expected = f"a list of {len(wanted)} values"
            if len(wanted) == 1:
                expected = "one value; one that is a list, such as a key of several columns, goes in another list"
            raise InvalidOption(
                f"limiter: queue {self.queue!r} is partitioned by {', '.join(wanted)}; expected {expected}; got "
                f"{self._values}"
            )

    async def _options(self) -> Queue:
        """The limits of the queue: of this node, or what was set for it, or what living nodes have."""
        node = self._node()
        if node is not None and (options := node.control.wanted().get(self.queue)) is not None:
            return options
        now = time.monotonic()
        if self._read is None or now - self._read[0] > REREAD:
            async with self._engines.transaction() as session:
                self._read = (now, await (await session.connection()).run_sync(self._read_options))
        return self._read[1]

    def _read_options(self, connection: Connection) -> Queue:
        rows = limits_known.execute(connection, name=self._config.name, queue=self.queue).all()
        options = self._config.queues.get(self.queue)
        if options is None:
            options = Queue()
            for row in rows:
                if not row.is_asked:
                    options = _larger(options, reported(object_of(row.known)))
        asked = [object_of(row.known) for row in rows if row.is_asked]
        try:
            return options.with_limits(asked[0] if asked else {})
        except (InvalidOption, TypeError):  # of another program; nodes ignore it, too
            return options


def _check_number(verb: str, n: object) -> None:
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise InvalidOption(f"Limiter.{verb}: expected a number of starts, 1 or more, got {n!r}")


def _larger(one: Queue, other: Queue) -> Queue:
    """The limits of the one that lets more start."""
    return other if _pace(other.rate_limit) > _pace(one.rate_limit) or not one.is_limited else one


def _pace(rate: RateLimit | None) -> float:
    return -math.inf if rate is None else rate.allowed / rate.seconds


def values_of(partition: object) -> str | None:
    """The values of a partition's fields as JSON; None for the queue.

    :raises InvalidOption: for values that JSON can't carry.
    """
    if partition is None:
        return None
    several = isinstance(partition, list | tuple)
    given: Sequence[object] = cast("Sequence[object]", partition) if several else (partition,)
    # A queue is partitioned by the names of workers, and a worker stands for its name, as in queries.
    return encode_value([worker_name_of(one) or one for one in given], "limiter: partition")
