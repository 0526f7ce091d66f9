"""The jobs that the database refuses to change: because of a constraint, a trigger, or a limit of a type."""

from __future__ import annotations

import time

from ..telemetry import job_logger as logger
from .lanes.failure import StatementFailed

OUT_FOR = 60.0
"""Seconds after which a refused job is tried again."""
MOST_NAMED = 100
"""How many jobs the log names one by one."""


class Refusals:
    """Refused jobs, which the statements of a node leave out for a minute. Each is named once in the log."""

    def __init__(self) -> None:
        # When each may be tried again, by id: written by add() and ids().
        self._until: dict[int, float] = {}
        # The ids that the log has named: written by name().
        self._named: set[int] = set()

    def ids(self) -> list[str]:
        """The jobs to leave out now; as text, see :func:`whole_numbers`."""
        if not self._until:
            return []
        now = time.monotonic()
        self._until = {job_id: until for job_id, until in self._until.items() if until > now}
        return [str(job_id) for job_id in self._until]

    def add(self, job_id: int, error: StatementFailed) -> None:
        """Leave this job out for a minute, because of `error`."""
        self._until[job_id] = time.monotonic() + OUT_FOR
        self.name(job_id, error)

    def name(self, job_id: int, error: StatementFailed) -> None:
        """Log, once for each job, that the database refuses to change it."""
        if job_id in self._named or len(self._named) > MOST_NAMED:
            return
        self._named.add(job_id)
        if len(self._named) > MOST_NAMED:
            logger.error("the database refuses to change more than %d jobs; further ones are not named", MOST_NAMED)
            return
        logger.error(
            "job %d: the database refuses to change it (%s); it is tried again every %g s, and the other jobs go on",
            job_id, error, OUT_FOR, extra={"job_id": job_id},
        )  # fmt: skip
