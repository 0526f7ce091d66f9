"""Python programs without the second that an interpreter spends on its imports: forked from one that has made them.

A program is a process like any other: it has its own pid, files, environment and signals, runs as ``__main__``, and
ends as an interpreter ends. What it can't show is what it imports, and what an interpreter reads at its start; for
these a test has to start an interpreter.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).parent.parent
IMPORTED = (
    "alembic.config",
    "asyncpg",
    "oban_sqla.cli.bench",
    "oban_sqla.cli.demo",
    "oban_sqla.cli.start",
    "oban_sqla.cli.top",
    "psycopg",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "sqlalchemy.dialects.postgresql.psycopg",
    "uvloop",
)


class Program:
    """A program that was started here; to be used as a :class:`subprocess.Popen`.

    :param module: a module's name, or the path of a file that ends with ``.py``.
    :ivar returncode: what it ended with, minus the number of the signal that killed it; None while it runs.
    """

    def __init__(self, module: str, arguments: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> None:
        self.args = [module, *arguments]
        self.returncode: int | None = None
        self._request = json.dumps(
            {"module": module, "arguments": [*arguments], "cwd": str(cwd), "environment": {**environment}}
        )

    def start(self, files: Sequence[int]) -> Program:
        """Start it with these as its standard input, output and error."""
        self._socket, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(_server(), [b"+"], [theirs.fileno(), *files])
        self._socket.sendall(self._request.encode())
        self._socket.shutdown(socket.SHUT_WR)
        self._answers = self._socket.makefile()
        self.pid = self._answer()
        return self

    def poll(self) -> int | None:
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; returns its return code.

        :raises subprocess.TimeoutExpired: it did not end within so many seconds.
        """
        if (code := self._look(timeout)) is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended since
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _look(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._socket], [], [], timeout)[0]:
            self.returncode = self._answer()
            self._answers.close()
            self._socket.close()
        return self.returncode

    def _answer(self) -> int:
        if not (line := self._answers.readline()):
            raise RuntimeError("the server that forks programs has ended; see its standard error")
        return int(line)


@functools.cache
def _server() -> socket.socket:
    """Start this process's server; it ends when its socket is closed, at the latest by the end of this process."""
    ours, theirs = socket.socketpair()
    with theirs:
        fd = theirs.fileno()
        command = [sys.executable, "-m", __name__, str(fd)]
        popen = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, pass_fds=[fd])

    def end() -> None:
        ours.close()
        popen.wait()

    atexit.register(end)
    return ours


def main(control: socket.socket) -> None:
    """Fork a program for each request. Returns in the forked process, when its program has ended."""
    for name in IMPORTED:
        try:
            importlib.import_module(name)
        except ImportError:
            continue  # of an extra that is not installed
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests
    signal.signal(signal.SIGCHLD, _note)
    woken, waker = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    programs: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([control.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _reap(programs)
        if control.fileno() in ready:
            asked, files, _, _ = socket.recv_fds(control, 1, 4)
            if not asked:
                _leave()
            answers = socket.socket(fileno=files[0])
            if (pid := os.fork()) == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                for inherited in (control, *programs.values()):
                    inherited.close()
                os.close(woken)
                os.close(waker)
                return _run(answers, files[1:])
            programs[pid] = answers
            for file in files[1:]:
                os.close(file)
            answers.sendall(b"%d\n" % pid)


def _note(*_: object) -> None:
    """Let the signal wake the server by its file descriptor."""


def _reap(programs: dict[int, socket.socket]) -> None:
    while programs:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with programs.pop(pid) as answers, contextlib.suppress(BrokenPipeError):  # whose test did not wait for it
            answers.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))


def _run(answers: socket.socket, files: Sequence[int]) -> None:
    with answers, answers.makefile() as asked:
        request = json.load(asked)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    tempfile.tempdir = None  # to be determined by the environment
    sys.path[0] = request["cwd"]
    sys.argv = [request["module"], *request["arguments"]]
    if os.environ.get("PYTHONUNBUFFERED"):
        sys.stdout.reconfigure(write_through=True)  # type: ignore[union-attr]
    if request["module"].endswith(".py"):
        path = os.path.abspath(request["module"])
        sys.path[0] = os.path.dirname(path)
        runpy.run_path(path, run_name="__main__")
    else:
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)


def _leave() -> NoReturn:
    os._exit(0)  # without what an interpreter does at its end, which is for the programs


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
