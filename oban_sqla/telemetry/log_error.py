"""Logging what code of the program has raised outside of a job: hooks, handlers, functions of the dashboard."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping

from sqlalchemy.exc import DBAPIError

from .database_error import described, of_database


def log_error(
    logger: logging.Logger, error: BaseException, message: str, *args: object, extra: Mapping[str, object] | None = None
) -> None:
    """Log `error` with its traceback; of a database's error without its text, which has the values that were sent.

    :param message: with places for `args`, as logging takes them.
    :param extra: further attributes of the record. Default: none.
    """
    said = described(error) if isinstance(error, DBAPIError) else type(error).__name__
    if not of_database(error):
        logger.error(message + ": %s", *args, said, exc_info=error, extra=extra)
        return
    frames = "".join(traceback.format_tb(error.__traceback__)).rstrip()
    logger.error(message + ": %s\n%s", *args, said, frames, extra=extra)
