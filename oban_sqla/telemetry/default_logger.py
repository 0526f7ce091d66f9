"""The log for machines: a line of JSON for each event."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy.exc import DBAPIError

from ..errors import InvalidArgs, InvalidOption
from .database_error import described
from .events import EVENTS, attach, detach
from .printable import shortened

LONGEST_MESSAGE = 2_000
"""Characters of an exception's message; of a longer one its beginning and its end are logged."""

_DEFAULT_LOGGER = "oban_sqla.default_logger"
_PACKAGE = logging.getLogger("oban_sqla")


def attach_default_logger(
    level: int = logging.INFO, *, logger: logging.Logger = _PACKAGE, events: Iterable[str] | None = None
) -> None:
    """Log events as lines of JSON: events of jobs at `level`, failures of the runtime as errors, others as debug.

    A line has the name of the event and its fields. It never contains arguments or meta of jobs. Of an exception it has
    the type, and the message if the job itself raised it, of at most 2,000 characters. Calling this again replaces the
    default logger.

    :param level: the level for events of jobs. Default ``logging.INFO``.
    :param logger: the logger to use. Default: the package's, ``oban_sqla``. No handlers are added to it.
    :param events: names of the events to log. Default: all.
    :raises InvalidOption: for a level that is not a number of :mod:`logging`, and for an event that does not exist.
    """
    given: object = level
    if isinstance(given, bool) or not isinstance(given, int):
        raise InvalidOption(f"attach_default_logger: level must be a number such as logging.INFO, got {given!r}")

    def log(event: str, fields: Mapping[str, Any]) -> None:
        if event.startswith("oban.job."):
            at = level
        else:
            at = logging.ERROR if event.endswith(".exception") else logging.DEBUG
        if logger.isEnabledFor(at):
            line = json.dumps({"event": event} | _plain(fields), ensure_ascii=False, default=str)
            # A lone surrogate becomes the escape that JSON has for it.
            logger.log(at, "%s", line.encode("utf-8", "backslashreplace").decode())

    attach(_DEFAULT_LOGGER, EVENTS if events is None else events, log)


def detach_default_logger() -> None:
    """Stop logging events. Does nothing if :func:`attach_default_logger` was not called."""
    detach(_DEFAULT_LOGGER)


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that may be logged."""
    plain = {name: value for name, value in fields.items() if name not in ("error", "specs", "key", "meta")}
    for name in ("duration", "queue_time"):
        if name in plain:
            plain[name] = round(plain[name], 6)
    if "specs" in fields:
        plain["workers"] = sorted({spec.worker for spec in fields["specs"]})
    if (error := fields.get("error")) is not None:
        plain["error_type"] = type(error).__name__
        # The messages of drivers and of validation may hold values that are none of the log's business.
        if "worker" in fields and not isinstance(error, InvalidArgs):
            plain["error_message"] = described(error) if isinstance(error, DBAPIError) else _message(error)
    return plain


def _message(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception as broken:
        return f"(its message could not be formatted: {type(broken).__name__})"
    return shortened(text, LONGEST_MESSAGE)
