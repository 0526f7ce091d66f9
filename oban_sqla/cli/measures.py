"""What ``oban-sqla bench`` measures, one function per figure. Only it imports this module, which registers workers."""

from __future__ import annotations

import asyncio
import math
import statistics
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from sqlalchemy import exists, func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from ..enqueueing.enqueue import enqueue
from ..models import Job
from ..oban import Oban
from ..runtime.lanes.line import Line
from ..workers.job import job
from .scratch import Scratch

QUEUE = "bench"
ELSEWHERE = "bench_elsewhere"
"""A queue that no node works."""
PAUSE = 0.02
"""Seconds between two jobs whose latency is measured, so that the queue is idle and no notification is held back."""
LOOKS = 200
"""Round trips that are measured."""
WARM_UP = 10
"""The first values of a series, which don't count."""

Report = Callable[[float], None]
"""Called with the share that is done, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Server:
    """The server, as far as the figures depend on it.

    :ivar round_trip_ms: the median time of a ``SELECT 1`` through SQLAlchemy, in milliseconds.
    """

    version: str
    fsync: str
    synchronous_commit: str
    round_trip_ms: float


@dataclass(frozen=True, slots=True)
class Throughput:
    """A number of jobs, and the seconds that they took."""

    jobs: int
    seconds: float

    @property
    def per_second(self) -> float:
        return self.jobs / self.seconds


@dataclass(frozen=True, slots=True)
class Spread:
    """The number of values of a series, and two of its percentiles in milliseconds."""

    values: int
    p50: float
    p99: float

    @classmethod
    def of(cls, seconds: list[float]) -> Spread:
        """The spread of a series of at least one length of time in seconds."""
        ordered = sorted(seconds)
        nearest = (ordered[math.ceil(len(ordered) * share) - 1] * 1e3 for share in (0.5, 0.99))
        return cls(len(ordered), *nearest)


async def server(scratch: Scratch) -> Server:
    """The version and settings of the server, and the time of a round trip."""
    names = ("server_version", "fsync", "synchronous_commit")
    async with scratch.engine.connect() as connection:
        row = (await connection.execute(select(*map(func.current_setting, names)))).one()
        version, fsync, synchronous_commit = map(str, row)
        taken: list[float] = []
        for _ in range(LOOKS + WARM_UP):
            begun = time.perf_counter()
            await connection.exec_driver_sql("SELECT 1")
            taken.append(time.perf_counter() - begun)
    return Server(version, fsync, synchronous_commit, statistics.median(taken[WARM_UP:]) * 1e3)


async def bulk(scratch: Scratch, jobs: int) -> Throughput:
    """Enqueue into an empty table, in one transaction, and leave the jobs there for :func:`drain`."""
    async with scratch.engine.begin() as connection:
        await connection.execute(text(f"TRUNCATE {scratch.named('oban_jobs')} CASCADE"))
    begun = time.perf_counter()
    async with scratch.sessions.begin() as session:
        await enqueue(session, (noop.new(number) for number in range(jobs)))
    taken = Throughput(jobs, time.perf_counter() - begun)
    async with scratch.engine.begin() as connection:
        await connection.execute(text(f"ANALYZE {scratch.named('oban_jobs')}"))
    return taken


async def single(scratch: Scratch, jobs: int, report: Report) -> tuple[Throughput, Spread]:
    """Enqueue one job per transaction, one after the other, in a program that has started a runtime."""
    taken: list[float] = []
    async with Oban(scratch.engine):
        for number in range(jobs + WARM_UP):
            begun = time.perf_counter()
            async with scratch.sessions.begin() as session:
                session.add(noop.options(queue=ELSEWHERE).new(number))
            taken.append(time.perf_counter() - begun)
            report(number / jobs)
    counted = taken[WARM_UP:]
    return Throughput(jobs, sum(counted)), Spread.of(counted)


async def drain(scratch: Scratch, concurrency: int, jobs: int, report: Report) -> Throughput:
    """Run the jobs of the queue in one process: from the start of the first job to the commit of the last ack."""
    _seen.count = 0
    async with Oban(scratch.engine, queues={QUEUE: concurrency}):
        while _seen.count < jobs:
            report(_seen.count / jobs)
            await asyncio.sleep(0.005)
        executing = select(exists().where(Job.state == "executing"))
        async with scratch.sessions() as session:
            while await session.scalar(executing):
                await session.rollback()
                await asyncio.sleep(0.001)
        return Throughput(jobs, time.perf_counter() - _seen.first)


async def latency(
    scratch: Scratch, runtime: Callable[[AsyncEngine], AbstractAsyncContextManager[None]], jobs: int, report: Report
) -> Spread:
    """Measure the time from the COMMIT to the start of the job, one job after the other, on an idle queue.

    :param runtime: works the queue: :func:`same_process` or :func:`by_notification`.
    """
    taken: list[float] = []
    async with runtime(scratch.engine):
        for number in range(jobs + WARM_UP):
            async with scratch.sessions() as session:
                session.add(stamp.new())
                await session.flush()
                _seen.stamped = asyncio.get_running_loop().create_future()
                begun = time.perf_counter()
                await session.commit()
            taken.append(await _seen.stamped - begun)
            report(number / jobs)
            await asyncio.sleep(PAUSE)
    return Spread.of(taken[WARM_UP:])


@asynccontextmanager
async def same_process(engine: AsyncEngine) -> AsyncGenerator[None, None]:
    """The process that commits also works the queue."""
    async with Oban(engine, queues={QUEUE: 10}):
        yield


@asynccontextmanager
async def by_notification(engine: AsyncEngine) -> AsyncGenerator[None, None]:
    """A NOTIFY wakes the node that works the queue, as it wakes a node in another process."""
    apart = Line(engine)  # a commit wakes the runtime whose pool it used
    try:
        async with Oban(apart.engine, queues={QUEUE: 10}), Oban(engine):
            yield
    finally:
        await apart.close()


class _Seen:
    """What the workers below have seen."""

    count: int
    first: float
    stamped: asyncio.Future[float]


_seen = _Seen()


@job(name="bench.noop", queue=QUEUE)
async def noop(number: int) -> None:
    if not _seen.count:
        _seen.first = time.perf_counter()
    _seen.count += 1


@job(name="bench.stamp", queue=QUEUE)
async def stamp() -> None:
    _seen.stamped.set_result(time.perf_counter())
