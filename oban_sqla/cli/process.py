"""The life of a worker process: start, wait for a signal, stop, and leave."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from .. import __version__
from ..oban import Oban
from ..telemetry import node_logger as logger
from ..telemetry.words import counted_jobs
from .health import Address, NodePages, answering
from .problems import line
from .signals import insists, to_stop
from .supervisor import supervised
from .systemd import READY, STOPPING, tell

LAST_WORDS = 5.0
"""Seconds for exit hooks and other threads after the node has stopped."""


def run(oban: Oban, health: Address | None = None, until_empty: bool = False) -> int:
    """Run `oban` until the process is asked to stop.

    If threads of jobs are still running then, this does not return: it gives their jobs back, and the process exits
    without waiting for the threads.

    :param health: the address at which health checks are answered. Default: none.
    :param until_empty: also stop when its queues have no job that is due. Default: False.
    :returns: the exit code.
    :raises click.ClickException: when it can't listen at that address.
    """
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        left = runner.run(_serve(oban, health if (part := supervised()) is None else part.health, until_empty))
        if left:
            # A thread can't be stopped. Its job may be given back only because the process ends at once.
            _leave(runner.run(_abandon(oban, len(left))))
        _leave_anyway()
    return 0


async def _serve(oban: Oban, health: Address | Path | None, until_empty: bool) -> list[int]:
    """Start the node, wait for the first signal or for empty queues, and stop the node.

    :returns: the ids of jobs whose threads are still running.
    """
    loop = asyncio.get_running_loop()
    signalled = _signalled(loop)
    logger.info("oban-sqla %s, on the event loop of %s", __version__, type(loop).__module__.partition(".")[0])
    left: list[int] = []
    try:
        async with answering(NodePages(oban), health):
            left = await _work(oban, signalled, until_empty)
        return left
    finally:
        if not left:
            await oban.engine.dispose()


async def _work(oban: Oban, signalled: asyncio.Future[str], until_empty: bool) -> list[int]:
    if not await _done(oban.start(), signalled):
        return await oban.stop()
    if (part := supervised()) is not None:
        part.is_ready()  # the supervisor tells systemd when all are ready
    else:
        tell(READY)
    if until_empty and await _done(oban.until_empty(), signalled):
        logger.info("stopping, because the queues have no job that is due: %s", ", ".join(oban.config.queues))
    else:
        logger.info(
            "%s: fetching no more jobs; running jobs have %g s to finish; a second signal exits at once",
            await signalled,
            oban.config.shutdown_grace,
        )
    if part is None:
        tell(STOPPING)
    return await oban.stop()


async def _done(work: Coroutine[Any, Any, None], signalled: asyncio.Future[str]) -> bool:
    """Do `work`, or cancel it at the first signal.

    :returns: whether it was done.
    """
    task = asyncio.create_task(work)
    both: tuple[asyncio.Future[Any], ...] = (task, signalled)
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        task.cancel()
        await asyncio.wait([task])
    if task.cancelled():
        return False
    task.result()
    return True


def _signalled(loop: asyncio.AbstractEventLoop) -> asyncio.Future[str]:
    """A future with the name of the first signal. The second signal ends the process."""
    first: asyncio.Future[str] = loop.create_future()
    seen: list[int] = []
    part = supervised()

    def resolve(name: str) -> None:
        if not first.done():
            first.set_result(name)

    def handle(number: int, _frame: FrameType | None) -> None:
        # A plain handler rather than the loop's own: it comes even while a job blocks the loop.
        name = signal.Signals(number).name
        if seen and part is None and insists(number):  # under a supervisor, the supervisor decides
            with contextlib.suppress(OSError):  # stderr is closed
                os.write(2, f"{name} again: exiting at once; other nodes will rescue the running jobs\n".encode())
            _leave(128 + number)
        seen.append(number)
        loop.call_soon_threadsafe(resolve, name)

    if part is not None:
        part.listen(lambda: _on(loop, lambda: resolve("the supervisor")), lambda: _leave(1))
    for number in to_stop():
        signal.signal(number, handle)
    return first


def _on(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    """Call `call` on the loop, if the loop still runs."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(call)


async def _abandon(oban: Oban, left: int) -> int:
    try:
        given = await oban.abandon()
    except Exception as error:
        logger.error(
            "could not give back %s in threads, which other nodes will rescue: %s", counted_jobs(left), line(error)
        )
        return 1
    logger.warning(
        "%s in threads did not finish; gave back %d, exiting without waiting for the threads", counted_jobs(left), given
    )
    return 0


def _leave(code: int) -> NoReturn:
    """End the process at once, without waiting for threads and without exit hooks."""
    for finish in (logging.shutdown, *(stream.flush for stream in (sys.stdout, sys.stderr) if stream is not None)):
        with contextlib.suppress(Exception):  # such as a closed pipe
            finish()
    os._exit(code)


def _leave_anyway() -> None:
    """Make sure that the process ends soon, even if jobs have left threads in pools of their own."""

    def leave() -> None:
        time.sleep(LAST_WORDS)  # while the interpreter shuts down
        os._exit(0)

    threading.Thread(target=leave, name="oban_sqla leaving", daemon=True).start()


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The factory of the event loop: that of uvloop if it is installed. Only the command line chooses a loop."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
