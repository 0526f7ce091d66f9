"""The supervisor: it starts the processes of a node, starts those again that die, and stops all of them together.

It imports nothing of the application. It stops the processes by a message on a socket, and never by a signal: a
terminal or systemd may have sent the signal to all of them already, and a second one would end them at once.
"""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from ...executors.death import signal_name
from ...runtime.share import Share, default_node
from ...telemetry import node_logger as logger
from ..health import Address, answering
from ..signals import insists, to_stop
from ..systemd import READY, STOPPING, tell
from .pages import Pages
from .runtime import RuntimeProcess

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
"""Seconds before a process is started again: at first, and at most. The pause doubles with each death, and is the first
one again after a process has lived longer than the longest pause."""
LAST_MOMENT = 1.0
"""Seconds that processes have to end after the second signal."""


def supervise(arguments: Sequence[str], count: int, node: str | None, health: Address | None) -> int:
    """Run `count` processes of a node until this one is asked to stop.

    :param arguments: the command line of each process, after ``python -m oban_sqla``.
    :param count: how many processes.
    :param node: the name of the node. Default: host name and the id of this process.
    :param health: the address at which health checks of the node are answered. Default: none.
    :returns: the exit code: 1 when no process ever became ready, or one of them failed at the stop.
    :raises click.ClickException: when it can't listen at that address.
    """
    with tempfile.TemporaryDirectory(prefix="oban-sqla-") as folder:
        return asyncio.run(Supervisor(arguments, count, node or default_node(), Path(folder), health).run())


class Supervisor:
    """Keeps the processes of a node.

    :param folder: for their sockets, and for the file that they lock while they write a line.
    """

    def __init__(self, arguments: Sequence[str], count: int, node: str, folder: Path, health: Address | None) -> None:
        self._arguments = arguments
        self._count = count
        self._node = node
        self._health = health
        self._sockets = [str(folder / f"{index}") if health else "" for index in range(count)]
        self._log_lock = os.open(folder / "log", os.O_CREAT | os.O_RDWR)
        self._running: dict[int, RuntimeProcess] = {}
        """The processes that run, by index. Written by `_keep`."""
        self._was_ready = asyncio.Event()
        """Set by `_ready`, when the first runtime has started."""
        self._is_complete = False
        """Whether all processes were ready at once. Set by `_ready`."""
        self._signalled = asyncio.Event()
        """Set by the first signal."""
        self._again = asyncio.Event()
        """Set by the second signal."""
        self._second = 0
        """The number of the second signal. Set by `_signal`."""

    async def run(self) -> int:
        """Start the processes, and keep them until a signal arrives.

        :returns: the exit code.
        """
        loop = asyncio.get_running_loop()
        for number in to_stop():
            loop.add_signal_handler(number, self._signal, number)
        try:
            async with answering(Pages(self._sockets), self._health):
                keeping = [asyncio.create_task(self._keep(index)) for index in range(self._count)]
                stopping = asyncio.create_task(self._stop())
                codes = await asyncio.gather(*keeping)
                stopping.cancel()
        finally:
            os.close(self._log_lock)
        if self._second:
            return 128 + self._second
        if not self._was_ready.is_set() and not self._signalled.is_set():
            logger.error("none of the %d processes could start; what the first one said is above", self._count)
            return 1
        return 0 if not any(codes) else 1

    async def _keep(self, index: int) -> int:
        """Run one of the processes, again after each death.

        :returns: the exit code of the last one.
        """
        pause = FIRST_PAUSE
        while True:
            process = RuntimeProcess(
                Share(index, self._count, self._node),
                self._arguments,
                self._log_lock,
                self._sockets[index],
                self._ready,
            )
            self._running[index] = process
            try:
                code = await process.run()
            except OSError as error:  # the system has no room for another process
                logger.error("process %d of %s could not be started: %s", index + 1, self._node, error)
                code = 1
            del self._running[index]
            if self._signalled.is_set() or not await self._may_start_again():
                return code
            lived = time.monotonic() - process.started_at
            pause = FIRST_PAUSE if lived > LONGEST_PAUSE else pause
            how = f"exited with {code}" if code >= 0 else f"was killed by {signal_name(-code)}"
            logger.warning("process %d of %s %s; it is started again in %g s", index + 1, self._node, how, pause)
            if await _set_within(self._signalled, pause):
                return 0
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _may_start_again(self) -> bool:
        """Whether a process that has died is started again: only if one process was ever ready.

        Otherwise the program can't start, and further starts would hide that.
        """
        while not self._was_ready.is_set():
            if not self._running or self._signalled.is_set():
                return False
            await _set_within(self._was_ready, 0.1)
        return not self._signalled.is_set()

    def _ready(self) -> None:
        self._was_ready.set()
        if not self._is_complete and sum(one.is_ready for one in self._running.values()) == self._count:
            self._is_complete = True
            logger.info("all %d processes of %s are ready", self._count, self._node)
            tell(READY)

    def _signal(self, number: int) -> None:
        if self._signalled.is_set():
            if insists(number) and not self._again.is_set():
                name = signal.Signals(number).name
                logger.warning("%s again: exiting at once; other nodes will rescue the running jobs", name)
                self._second = number
                self._again.set()
            return
        logger.info("%s: stopping %d processes", signal.Signals(number).name, len(self._running))
        tell(STOPPING)
        self._signalled.set()

    async def _stop(self) -> None:
        await self._signalled.wait()
        for process in self._running.values():
            process.stop()
        await self._again.wait()
        for process in self._running.values():
            process.leave()
        await asyncio.sleep(LAST_MOMENT)
        for process in self._running.values():
            process.kill()


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return event.is_set()  # it may have been set at the same moment
