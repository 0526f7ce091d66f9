"""The log of a running command: one line per event, on stderr."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from typing import Any

from ..telemetry import attach, logger
from .supervisor.supervised import supervised

LEVELS = ("debug", "info", "warning", "error")


def configure(level: str) -> None:
    """Log messages of `level` and above to stderr. ``debug`` logs each job that ends, without its arguments."""
    part = supervised()
    handler = logging.StreamHandler(sys.stderr) if part is None else _Line(part.log_lock)
    process = "" if part is None else f" [{part.share.index + 1}]"
    format = f"%(asctime)s %(levelname)-7s{process} %(name)s: %(message)s"
    handler.setFormatter(logging.Formatter(format, "%H:%M:%S"))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    if level == "debug":
        attach("oban_sqla.cli", ["oban.job.stop", "oban.job.exception"], _log_job)


class _Line(logging.Handler):
    """Writes each record whole, where several processes write to one stderr: a pipe takes 4 KiB at once.

    :param lock: the descriptor of a file that is locked meanwhile.
    """

    def __init__(self, lock: int) -> None:
        super().__init__()
        self._lock = lock

    def emit(self, record: logging.LogRecord) -> None:
        try:
            import fcntl  # not on every system, and neither is the supervisor

            rest = memoryview(f"{self.format(record)}\n".encode(errors="backslashreplace"))
            fcntl.lockf(self._lock, fcntl.LOCK_EX)
            try:
                while rest:
                    rest = rest[os.write(2, rest) :]
            finally:
                fcntl.lockf(self._lock, fcntl.LOCK_UN)
        except Exception:
            self.handleError(record)


def _log_job(event: str, job: Mapping[str, Any]) -> None:
    logger.debug(
        "job %d (%s) of queue %s is %s after attempt %d, %.0f ms",
        job["job_id"], job["worker"], job["queue"], job["state"], job["attempt"], job["duration"] * 1000,
    )  # fmt: skip
