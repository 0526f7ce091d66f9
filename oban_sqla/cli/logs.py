"""The log of a running command: one line per event, on stderr."""

from __future__ import annotations

import os

from ..telemetry import basic_logging
from ..telemetry.basic_logging import Lines
from .supervisor.supervised import supervised

LEVELS = ("debug", "info", "warning", "error")


def configure(level: str) -> None:
    """Log messages of `level` and above to stderr."""
    if (part := supervised()) is None:
        basic_logging(level)
    else:
        handler = basic_logging(level, stream=_WholeLines(part.log_lock))
        handler.setFormatter(Lines(f" [{part.share.index + 1}]"))


class _WholeLines:
    """Writes each record whole, where several processes write to one stderr: a pipe takes 4 KiB at once.

    :param lock: the descriptor of a file that is locked meanwhile.
    """

    def __init__(self, lock: int) -> None:
        self._lock = lock

    def flush(self) -> None:
        pass  # nothing is kept

    def write(self, text: str, /) -> None:
        import fcntl  # not on every system, and neither is the supervisor

        rest = memoryview(text.encode(errors="backslashreplace"))
        fcntl.lockf(self._lock, fcntl.LOCK_EX)
        try:
            while rest:
                rest = rest[os.write(2, rest) :]
        finally:
            fcntl.lockf(self._lock, fcntl.LOCK_UN)
