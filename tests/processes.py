"""Programs as processes of their own: what they write is kept, and none of them outlives its test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.forkserver import Program
from tests.support import eventually

ROOT = Path(__file__).parent.parent


class Process:
    """A running program.

    :ivar log: the file with everything that it wrote.
    """

    def __init__(self, popen: subprocess.Popen[bytes] | Program, log: Path) -> None:
        self.popen = popen
        self.log = log

    @property
    def text(self) -> str:
        return self.log.read_text()

    @property
    def returncode(self) -> int | None:
        """What it ended with; None while it runs."""
        return self.popen.poll()

    async def says(self, text: str, timeout: float = 60.0) -> str:
        """Wait until it has written `text`; returns everything that it wrote."""

        def said() -> str | None:
            written = self.text
            if text not in written and self.popen.poll() is not None:
                written = self.text  # what it wrote between the two looks
                if text not in written:
                    raise RuntimeError(f"it ended with {self.popen.returncode} before it said {text!r}:\n{written}")
            return written if text in written else None

        return await eventually(said, timeout)

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    async def ended(self, timeout: float = 20.0) -> int:
        """Wait for its end; returns its exit code."""
        await eventually(lambda: self.popen.poll() is not None, timeout)
        return self.popen.wait()


@contextmanager
def running(
    arguments: Sequence[str],
    log: Path,
    cwd: Path = ROOT,
    environment: Mapping[str, str] | None = None,
    fresh: bool = False,
) -> Generator[Process]:
    """Run ``python arguments…``; it is killed at the end if it hasn't ended by then.

    :param fresh: in an interpreter that has imported nothing yet.
    """
    with log.open("wb") as file:
        popen = _start(arguments, cwd, environment, fresh, file, file)
    try:
        yield Process(popen, log)
    finally:
        if popen.poll() is None:
            popen.kill()
        popen.wait()


def finished(
    arguments: Sequence[str],
    cwd: Path = ROOT,
    environment: Mapping[str, str] | None = None,
    timeout: float = 60.0,
    fresh: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run ``python arguments…`` to its end.

    :param fresh: in an interpreter that has imported nothing yet.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        popen = _start(arguments, cwd, environment, fresh, out, errors)
        try:
            code = popen.wait(timeout)
        finally:
            if popen.poll() is None:
                popen.kill()
            popen.wait()
        for file in (out, errors):
            file.seek(0)
        return subprocess.CompletedProcess([*arguments], code, out.read().decode(), errors.read().decode())


def _start(
    arguments: Sequence[str],
    cwd: Path,
    environment: Mapping[str, str] | None,
    fresh: bool,
    out: IO[bytes],
    errors: IO[bytes],
) -> subprocess.Popen[bytes] | Program:
    """A fork is enough for a module or a file, where an interpreter would read nothing else at its start."""
    [first, *rest] = arguments[1:] if arguments[0] == "-m" else arguments
    forks = sys.platform == "linux" and (arguments[0] == "-m" or first.endswith(".py")) and not fresh
    read = [name for name in environment or () if name.startswith("PYTHON") and name != "PYTHONUNBUFFERED"]
    with open(os.devnull, "rb") as nothing:
        if forks and not read:
            program = Program(first, rest, cwd, clean_environment(environment))
            return program.start([file.fileno() for file in (nothing, out, errors)])
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=cwd,
            env=clean_environment(environment),
            stdin=nothing,
            stdout=out,
            stderr=errors,
        )


def clean_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without what names a database, and `more`."""
    ours = {name: value for name, value in os.environ.items() if not name.endswith("DATABASE_URL")}
    return {**ours, **(more or {})}
