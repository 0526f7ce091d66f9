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
    """Writes each record in one piece when several processes share stderr, because a pipe takes only 4 KiB at once.

    :param lock: the descriptor of a file that is locked during a write.
    """

    def __init__(self, lock: int) -> None:
        self._lock = lock

    def flush(self) -> None:
        pass  # nothing is buffered

    def write(self, text: str, /) -> None:
        import fcntl  # it exists only on systems that have the supervisor, too

        rest = memoryview(text.encode(errors="backslashreplace"))
        fcntl.lockf(self._lock, fcntl.LOCK_EX)
        try:
            while rest:
                rest = rest[os.write(2, rest) :]
        finally:
            fcntl.lockf(self._lock, fcntl.LOCK_UN)
