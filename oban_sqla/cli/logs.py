"""The log of a running command: one line per event, on stderr."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any

from ..telemetry import attach, logger

LEVELS = ("debug", "info", "warning", "error")


def configure(level: str) -> None:
    """Log messages of `level` and above to stderr. ``debug`` logs each job that ends, without its arguments."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    if level == "debug":
        attach("oban_sqla.cli", ["oban.job.stop", "oban.job.exception"], _log_job)


def _log_job(event: str, job: Mapping[str, Any]) -> None:
    logger.debug(
        "job %d (%s) of queue %s is %s after attempt %d, %.0f ms",
        job["job_id"], job["worker"], job["queue"], job["state"], job["attempt"], job["duration"] * 1000,
    )  # fmt: skip
