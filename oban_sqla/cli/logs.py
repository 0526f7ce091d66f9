"""What the command says while it runs: one line an event, on stderr."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any

from ..telemetry import attach, logger

LEVELS = ("debug", "info", "warning", "error")


def configure(level: str) -> None:
    """Log to stderr from `level` on. With ``debug`` each job that ends gets a line, without its arguments."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    if level == "debug":
        attach("oban_sqla.cli", ["oban.job.stop", "oban.job.exception"], _tell)


def _tell(event: str, job: Mapping[str, Any]) -> None:
    logger.debug(
        "job %d (%s) of queue %s is %s after attempt %d, %.0f ms",
        job["job_id"], job["worker"], job["queue"], job["state"], job["attempt"], job["duration"] * 1000,
    )  # fmt: skip
