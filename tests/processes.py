"""Programs as processes of their own: what they write is kept, and none of them outlives its test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support import eventually

ROOT = Path(__file__).parent.parent


class Process:
    """A running program.

    :ivar log: the file with everything that it wrote.
    """

    def __init__(self, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.popen = popen
        self.log = log

    @property
    def text(self) -> str:
        return self.log.read_text()

    async def says(self, text: str, timeout: float = 20.0) -> str:
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
        return self.popen.returncode


@contextmanager
def running(
    arguments: Sequence[str], log: Path, cwd: Path = ROOT, environment: Mapping[str, str] | None = None
) -> Iterator[Process]:
    """Run ``python arguments…``; it is killed at the end if it hasn't ended by then."""
    with (
        log.open("wb") as file,
        subprocess.Popen(
            [sys.executable, *arguments],
            cwd=cwd,
            env=clean_environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        ) as popen,
    ):
        try:
            yield Process(popen, log)
        finally:
            if popen.poll() is None:
                popen.kill()


def finished(
    arguments: Sequence[str], cwd: Path = ROOT, environment: Mapping[str, str] | None = None, timeout: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run ``python arguments…`` to its end."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=clean_environment(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def clean_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without what names a database, and `more`."""
    ours = {name: value for name, value in os.environ.items() if not name.endswith("DATABASE_URL")}
    return {**ours, **(more or {})}
