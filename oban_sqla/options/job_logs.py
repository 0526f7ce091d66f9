"""Whether the log of a job is kept with the job."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from ..errors import InvalidOption
from .spelling import spelled

LARGEST = 100_000


@spelled
@dataclass(frozen=True, slots=True)
class JobLogs:
    """What jobs log is kept with the job: ``Oban(engine, job_logs=JobLogs())``.

    While the node runs, a handler on the root logger takes the records that are made inside its jobs, and no others.
    It changes no level: with logging not configured, Python's root logger lets only warnings through, so set its level
    (``logging.getLogger().setLevel("INFO")``, or :func:`oban_sqla.telemetry.basic_logging`). Loggers that do not
    propagate are not seen.

    :param level: the lowest level that is kept, as a name or a number. Default ``"INFO"``.
    :param most: how many lines of a job are kept, the newest; 1 to 100,000. Default 1,000.
    :raises InvalidOption: for a level that logging does not know, or a number out of range.
    """

    level: int | str = "INFO"
    most: int = 1_000

    def __post_init__(self) -> None:
        level: object = self.level
        known = isinstance(level, int) and not isinstance(level, bool) and level >= 0
        if not known and not (isinstance(level, str) and level.upper() in logging.getLevelNamesMapping()):
            raise InvalidOption(f'JobLogs: level must be a level of logging such as "INFO", got {level!r}')
        most: object = self.most
        if not isinstance(most, int) or isinstance(most, bool) or not 1 <= most <= LARGEST:
            raise InvalidOption(f"JobLogs: most must be 1 to {LARGEST:,} lines, got {most!r}")

    @property
    def number(self) -> int:
        """The level as a number."""
        level = self.level
        return level if isinstance(level, int) else logging.getLevelNamesMapping()[level.upper()]


def checked_job_logs(given: object, what: str) -> JobLogs | None:
    """The option `job_logs`, if it is valid.

    :param what: whose option it is, for the error.
    :raises InvalidOption: for anything but :class:`JobLogs` or None.
    """
    if given is None or isinstance(given, JobLogs):
        return given
    raise InvalidOption(f"{what}: job_logs must be JobLogs(…), or None for none, got {given!r}")
