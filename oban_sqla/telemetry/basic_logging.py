"""The log for people: one line for each record, on stderr."""

from __future__ import annotations

import logging
import sys
from typing import Protocol

from ..errors import InvalidOption
from .job_filter import JobFilter
from .printable import printable


class Stream(Protocol):
    """What can be written to, such as ``sys.stderr``."""

    def write(self, text: str, /) -> object: ...
    def flush(self) -> object: ...


def basic_logging(level: int | str = logging.INFO, *, stream: Stream | None = None) -> logging.Handler:
    """Log to stderr in lines for people, with the job in which each line was logged.

    ::

        12:00:01 INFO    oban_sqla.node: Oban started on web.7 with queues default and 3 workers
        12:00:02 INFO    app.jobs: sending [job 7 app.jobs.send_welcome, attempt 1]
        12:00:02 INFO    oban_sqla.job: job 7 (app.jobs.send_welcome) completed in 12 ms

    For programs that do not configure logging themselves: it adds a handler to the root logger and sets its level.
    Calling it again replaces that handler. `oban-sqla start` logs in this way.

    :param level: the lowest level that is logged, as a number or a name. Default ``logging.INFO``.
    :param stream: where to write. Default: ``sys.stderr``.
    :returns: the handler.
    :raises InvalidOption: for a level that :mod:`logging` does not know.
    """
    given = level.upper() if isinstance(level, str) else level
    if isinstance(given, bool) or (given not in logging.getLevelNamesMapping() and not isinstance(given, int)):
        raise InvalidOption(f'basic_logging: level must be a level of logging such as "INFO", got {level!r}')
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if isinstance(handler, _People)]:
        root.removeHandler(old)
    handler = _People(sys.stderr if stream is None else stream)
    handler.addFilter(JobFilter())
    handler.setFormatter(Lines())
    root.addHandler(handler)
    root.setLevel(given)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    return handler


class _People(logging.StreamHandler[Stream]):
    """A handler that can be told from those of the program."""


class Lines(logging.Formatter):
    """Lines for people.

    :param mark: text of each line, after the level. Default: nothing.
    """

    def __init__(self, mark: str = "") -> None:
        super().__init__(f"%(asctime)s %(levelname)-7s{mark} %(name)s: %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (the standard library's name)
        line = super().formatMessage(record)
        job_id = getattr(record, "job_id", None)
        if job_id is None or record.name.startswith("oban_sqla."):
            return line  # which says itself which job it is about
        return f"{line} [job {job_id} {getattr(record, 'worker', '')}, attempt {getattr(record, 'attempt', '')}]"

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))
