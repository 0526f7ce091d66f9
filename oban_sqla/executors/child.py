"""One child process, as its node sees it: start, calls, and every kind of end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context
from pathlib import Path
from typing import Any

from ..errors import ChildDied, InvalidOption
from . import wire
from .death import signal_name
from .interpreter import interpreter

FAREWELL = 2.0
"""Seconds that a killed process may take to end."""
WARNING = 0.5
"""Seconds between "stop" and SIGKILL."""

_SERVE = Path(__file__).with_name("serve.py")
# serve.py is loaded by its path: an import by name would import the whole package before the child can report an error.
_BOOT = (
    "import importlib.util as u, sys; s = u.spec_from_file_location('_oban_sqla_serve', sys.argv[1]); "
    "m = u.module_from_spec(s); s.loader.exec_module(m); m.main(int(sys.argv[2]), int(sys.argv[3]))"
)
Heard = Callable[[int, dict[str, Any]], None]
"""Called with each message of a child that is not the answer to a call: its kind, and its fields."""


class Child:
    """A process that runs one call at a time.

    :param setup: what the child is told first; see :func:`oban_sqla.executors.setup.setup`.
    :param heard: called on the event loop with what the child reports while it works.
    """

    def __init__(self, setup: Mapping[str, Any], heard: Heard) -> None:
        self.calls = 0
        """Calls that have ended. Written by `_took`."""
        self.memory = 0
        """Bytes of resident memory after the last call. Written by `_took`."""
        self.slot_said: Callable[[str], None] | None = None
        """Called with what the job under way does with its slot. Written by `InChildren`."""
        self.died: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """How the process ended, in words. Set by `_ended`."""
        self.was_ended = False
        """Whether the node has killed the process. Written by `end`."""
        self.asked = ""
        """Why a call was last asked to stop: the value of a :class:`Stop`. Written by `kill`."""
        self.runs: Any = None
        """The run whose call is under way. Written by `InChildren`."""
        self.context: Context | None = None
        """The context of that run. Written by `InChildren`."""
        self._setup = setup
        self._heard = heard
        self._process: subprocess.Popen[bytes] | None = None
        """Set by `start`."""
        self._ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """The error of the start; empty when there is none. Set by `_took`."""
        self._done: asyncio.Future[bytes] | None = None
        """The result of the call under way. Made by `run`, set by `_took` and `_ended`."""
        self._killing: asyncio.TimerHandle | None = None
        """When SIGKILL follows. Set by `kill`; cancelled by `_took`."""
        self._line: asyncio.Transport | None = None
        """The socket to the child. Made by `start`, closed by `_ended`."""
        self._life = -1
        """The pipe whose closing ends the child. Written by `start` and `_ended`."""

    @property
    def pid(self) -> int:
        """The process id; 0 before the start."""
        return 0 if self._process is None else self._process.pid

    @property
    def is_alive(self) -> bool:
        return not self.died.done()

    @property
    def is_ready(self) -> bool:
        """Whether the process lives, and has imported the workers."""
        return self.is_alive and self._ready.done()

    async def start(self, timeout: float) -> None:
        """Start the process, and wait until it has imported the workers.

        :param timeout: seconds.
        :raises InvalidOption: when an import in the child raises, with the child's own words.
        :raises ChildDied: when the process ends, or is not ready in time.
        """
        try:
            await self._start(timeout)
        except BaseException:
            await self.leave(patience=0)
            raise

    async def _start(self, timeout: float) -> None:
        ours, theirs = socket.socketpair()
        life, self._life = os.pipe()
        arguments = [*interpreter(), "-c", _BOOT]
        try:
            # From the loop's thread: the kernel ends a child when the *thread* that has started it ends.
            self._process = subprocess.Popen(  # noqa: ASYNC220 (half a millisecond)
                [*arguments, str(_SERVE), str(theirs.fileno()), str(life)],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=(theirs.fileno(), life),
            )
        except OSError:
            ours.close()
            os.close(self._life)
            raise
        finally:
            theirs.close()
            os.close(life)
        self._watch(self._process)
        self._line, _ = await asyncio.get_running_loop().create_unix_connection(lambda: _Frames(self._took), sock=ours)
        self._send(wire.message(wire.SETUP, **self._setup))
        await asyncio.wait((self._ready, self.died), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if self._ready.done():
            if error := self._ready.result():
                raise InvalidOption(error)
        elif self.died.done():
            raise ChildDied(f"a child process ended before it was ready: {self.died.result()}")
        else:
            raise ChildDied(f"a child process was not ready within {timeout:g} s; its imports may take longer")

    def run(self, payload: bytes) -> asyncio.Future[bytes]:
        """Run one call.

        :returns: what the child answers, once it has. It raises :class:`ChildDied` when the child ends before.
        """
        done = self._done = asyncio.get_running_loop().create_future()
        if self.died.done():
            self._done = None
            done.set_exception(ChildDied(self.died.result()))
        self._send(wire.frame(wire.CALL, payload))
        return done

    def kill(self, reason: str) -> None:
        """Ask the call to stop, and kill the process half a second later if it has not ended by then.

        :param reason: the value of a :class:`Stop`.
        """
        if self.is_alive and self._killing is None:
            self.asked = reason
            self._send(wire.frame(wire.STOP, reason.encode()))
            self._killing = asyncio.get_running_loop().call_later(WARNING, self.end)

    def answer(self, **fields: Any) -> None:
        """Answer a question of the child."""
        self._send(wire.message(wire.ANSWER, **fields))

    def answer_told(self, **fields: Any) -> None:
        """Tell the child that the node has taken what its job has told."""
        self._send(wire.message(wire.TAKEN, **fields))

    def end(self) -> None:
        """Kill the process, and everything in its group, at once."""
        if self._process is not None and self.is_alive:
            self.was_ended = True
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def leave(self, patience: float = 2.0) -> None:
        """Let an idle child end by itself, or kill it after `patience` seconds."""
        if self._process is None:
            return
        if self._line is not None:
            self._line.close()
        await asyncio.wait((self.died,), timeout=patience)
        self.end()
        await asyncio.wait((self.died,), timeout=FAREWELL)  # so that it is reaped

    def _send(self, frame: bytes) -> None:
        if self._line is not None and not self._line.is_closing():
            self._line.write(frame)

    def _took(self, kind: int, body: bytes) -> None:
        """Handle a frame of the child."""
        if kind == wire.DONE:
            self.memory = int.from_bytes(body[:8], "big")
            done, self._done = self._done, None
            if done is not None:
                self.calls += 1
                if self._killing is not None:  # the call ended in time, so the process lives on
                    self._killing.cancel()
                    self._killing = None
                done.set_result(body[8:])
        elif kind == wire.READY:
            self._ready.set_result(str(wire.fields(body)["error"]))
        else:
            self._heard(kind, wire.fields(body))

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        loop = asyncio.get_running_loop()
        if hasattr(os, "pidfd_open"):
            descriptor = os.pidfd_open(process.pid)

            def readable() -> None:
                loop.remove_reader(descriptor)
                os.close(descriptor)
                # In the next round of the loop: what the child sent before its end is read in this one.
                loop.call_soon(self._ended, process, _status(process.pid))

            loop.add_reader(descriptor, readable)
            return

        def wait() -> None:
            status = _status(process.pid)
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._ended, process, status)

        threading.Thread(target=wait, name="oban-sqla child", daemon=True).start()

    def _ended(self, process: subprocess.Popen[bytes], how: str) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # what the child has left behind
        process.poll()
        os.close(self._life)
        if self._line is not None:
            self._line.close()
        if not self.died.done():
            self.died.set_result(how)
        done, self._done = self._done, None
        if done is not None:
            done.set_exception(ChildDied(how))


class _Frames(asyncio.Protocol):
    """Cuts what a child sends into frames, and handles each at once. (An asyncio stream would wait for its reader.)

    :param took: called with the kind and the body of each frame.
    """

    def __init__(self, took: Callable[[int, bytes], None]) -> None:
        self._took = took
        self._buffer = bytearray()
        """The bytes of a frame that is not complete yet."""

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        while len(buffer) >= wire.HEAD.size:
            length, kind = wire.HEAD.unpack_from(buffer)
            end = wire.HEAD.size + length
            if len(buffer) < end:
                return
            body = bytes(buffer[wire.HEAD.size : end])
            del buffer[:end]
            self._took(kind, body)


def supervise(work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
    """Run `work` in the background, and keep its task in `tasks` until it has ended."""
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


def _status(pid: int) -> str:
    """Wait until the process has ended, and say how, in words. It is not reaped."""
    before = _out_of_memory()
    try:
        info = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    except ChildProcessError:
        return "the child process ended, and the program hides how (it ignores SIGCHLD)"
    if info is None or info.si_code == os.CLD_EXITED:
        return f"the child process exited with status {0 if info is None else info.si_status}"
    name = signal_name(info.si_status)
    if info.si_status != signal.SIGKILL:
        return f"the child process was killed by {name}"
    grown = _out_of_memory() > before
    return f"the child process was killed by {name}{', out of memory' if grown else ', perhaps out of memory'}"


def _out_of_memory() -> int:
    """How many processes of this control group the kernel has killed for memory; 0 where that can't be read."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/sys/fs/cgroup/memory.events").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
