"""A process of a node, as the supervisor sees it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence

from ...executors.interpreter import interpreter
from ...runtime.share import Share
from .supervised import LEAVE, READY, STOP, environment


class RuntimeProcess:
    """A process that runs a whole runtime. It is started once, and watched until it ends.

    :param share: which of the node's processes it is.
    :param arguments: the arguments of ``python -m oban_sqla``.
    :param log_lock: the descriptor of the file that is locked while a line of the log is written.
    :param health: the path of the socket at which it answers health checks; empty for none.
    :param ready: called when its runtime has started.
    """

    def __init__(
        self, share: Share, arguments: Sequence[str], log_lock: int, health: str, ready: Callable[[], None]
    ) -> None:
        self.is_ready = False
        """Whether its runtime has started. Written by `run`."""
        self.started_at = time.monotonic()
        """When it was made, by the monotonic clock."""
        self._share = share
        self._arguments = arguments
        self._log_lock = log_lock
        self._health = health
        self._ready = ready
        self._line: socket.socket | None = None
        """The socket to the process. Made and closed by `run`."""
        self._process: asyncio.subprocess.Process | None = None
        """The process. Made by `run`."""

    async def run(self) -> int:
        """Start the process, and wait for its end.

        :returns: its exit code; negative for a signal.
        """
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._line = ours
        with ours:
            with theirs:
                variables = environment(self._share, theirs.fileno(), self._log_lock, self._health)
                self._process = await asyncio.create_subprocess_exec(
                    *(*interpreter(), "-m", "oban_sqla", *self._arguments),
                    env={**os.environ, **variables},
                    stdin=asyncio.subprocess.DEVNULL,
                    start_new_session=True,  # Ctrl-C in a terminal reaches only the supervisor
                    pass_fds=(theirs.fileno(), self._log_lock),
                )
            hearing = asyncio.create_task(self._hear(ours))
            try:
                return await self._process.wait()
            finally:
                hearing.cancel()
                await asyncio.wait([hearing])
                self._line = None

    def stop(self) -> None:
        """Ask it to finish the running jobs, and end; after the first signal."""
        self._say(STOP)

    def leave(self) -> None:
        """Ask it to end at once; after the second signal."""
        self._say(LEAVE)

    def kill(self) -> None:
        """Kill it, and everything in its process group."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _say(self, word: bytes) -> None:
        if self._line is not None:
            with contextlib.suppress(OSError):  # the process has ended
                self._line.send(word)

    async def _hear(self, line: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if await asyncio.get_running_loop().sock_recv(line, 1) == READY:
                self.is_ready = True
                self._ready()
