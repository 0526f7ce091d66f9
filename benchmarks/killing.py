"""Nodes that are processes, of which one is killed again and again."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine

from oban_sqla import Heartbeat, Oban

UNDER_WAY = "state IN ('available', 'executing', 'retryable', 'scheduled')"


class Launched(Protocol):
    """A process."""

    def send_signal(self, number: signal.Signals, /) -> None: ...
    def wait(self) -> int: ...


Launch = Callable[[list[str]], Launched]
"""Starts ``python`` with these arguments."""


def launched(arguments: Sequence[str]) -> Launched:
    """``python arguments…``, without what it says."""
    nothing = subprocess.DEVNULL
    return subprocess.Popen([sys.executable, *arguments], stdout=nothing, stderr=nothing)


async def node(url: str, name: str, queue: str) -> None:
    """A node that notices the death of another within a second, until it is killed.

    :param queue: on which it runs ten jobs at once.
    """
    engine = create_async_engine(url, pool_size=25)
    async with Oban(
        engine,
        queues={queue: 10},
        node=name,
        heartbeat=Heartbeat(interval=0.25, stale_after=1),
        lifeline_interval=0.25,
        leader_ttl=1.5,
        poll_interval=0.5,
        sessionmaker=async_sessionmaker(engine),
        log_exceptions=False,
    ):
        await asyncio.Event().wait()


class Killing:
    """``async with``: nodes run, and every some seconds the oldest gets SIGKILL and another one is started.

    :param module: its ``--node URL NAME`` is a node.
    :param url: of the database.
    :param nodes: how many there are.
    :param every: seconds between two kills.
    :param launch: starts a process.
    :param most: kills. Default: without end.
    :ivar count: how many were killed.
    """

    def __init__(
        self, module: str, url: str, nodes: int, every: float, launch: Launch = launched, most: int | None = None
    ) -> None:
        self.count = 0
        self._launch = launch
        self._most = most
        self._module, self._url, self._nodes, self._every = module, url, nodes, every
        self._started = 0
        self._running: list[Launched] = []
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Killing:
        for _ in range(self._nodes):
            self._start()
        self._task = asyncio.create_task(self._kill())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for one in self._running:
            one.send_signal(signal.SIGKILL)
            one.wait()

    def _start(self) -> None:
        self._started += 1
        arguments = ["-m", self._module, "--node", self._url, f"node-{self._started}"]
        self._running.append(self._launch(arguments))

    async def _kill(self) -> None:
        while self._most is None or self.count < self._most:
            await asyncio.sleep(self._every)
            self._start()
            victim = self._running.pop(0)
            victim.send_signal(signal.SIGKILL)
            victim.wait()
            self.count += 1


async def rows(engine: AsyncEngine, statement: str, **given: Any) -> list[Any]:
    """What a statement gives."""
    async with engine.begin() as connection:
        found = await connection.execute(text(statement), given)
        return [tuple(row) for row in found.all()] if found.returns_rows else []


async def calm(engine: AsyncEngine, timeout: float, *, chained: bool = False) -> None:
    """Wait until nothing is under way, nor waits in a chain.

    :raises TimeoutError: when for that time nothing became less: a busy machine is slow, and does not stand still.
    """
    which = f"({UNDER_WAY})" if not chained else f"({UNDER_WAY} OR (state = 'suspended' AND chain_key IS NOT NULL))"
    left = f"SELECT (SELECT count(*) FROM oban_jobs WHERE {which}), (SELECT count(*) FROM oban_news)"
    until = time.monotonic() + timeout
    least = None
    while (found := (await rows(engine, left))[0]) != (0, 0):
        if least is None or found[0] < least:
            least, until = found[0], time.monotonic() + timeout
        elif time.monotonic() > until:
            raise TimeoutError(f"{found[0]} jobs are under way and {found[1]} news unread, no fewer for {timeout:g} s")
        await asyncio.sleep(0.1)
