"""The log of a job: a handler that puts the records made in a job into the journal of its run."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any, Protocol

from ...telemetry import node_logger, running
from .journal import Journal, Journals

_PLAIN = (str, int, float, bool, type(None))


class _Logging(Protocol):
    """A run whose log may be kept."""

    @property
    def journals(self) -> Journals: ...

    @property
    def journal(self) -> Journal: ...


class JobLog(logging.Handler):
    """Keeps the records that are made inside jobs, in whichever task or thread of the job.

    :param journals: those of the node: records made in jobs of other nodes of the process are left to these.
    :param level: the lowest level that is kept.
    """

    def __init__(self, journals: Journals, level: int) -> None:
        super().__init__(level)
        self._journals = journals

    def attach(self) -> None:
        """Begin to hear records."""
        root = logging.getLogger()
        if root.level > self.level:
            node_logger.warning(
                "job_logs keeps records from %s on, and the root logger lets only %s and above through, unless a "
                "logger sets another level; set it: logging.getLogger().setLevel(%r)",
                *map(logging.getLevelName, (self.level, root.level, self.level)),
            )
        root.addHandler(self)

    def detach(self) -> None:
        """Hear no more."""
        logging.getLogger().removeHandler(self)
        self.close()

    def handle(self, record: logging.LogRecord) -> bool:
        # Without the lock of a handler: what is appended to needs none, and a busy log is not slowed down by it.
        run: _Logging | None = running.get(None)
        if run is not None and run.journals is self._journals:
            run.journal.log(record.created, line_of(record, run.journal.row.attempt))
        return True


def line_of(record: logging.LogRecord, attempt: int) -> Callable[[], dict[str, Any]]:
    """What makes the line of `record`: at once where it has objects that may change, else when it is stored."""
    args: Any = record.args
    if (
        record.exc_info
        or record.stack_info
        or not (
            args is None or (isinstance(args, tuple) and all(type(each) in _PLAIN for each in args))  # pyright: ignore
        )
    ):
        made = _line(record, attempt)
        return lambda: made
    return lambda: _line(record, attempt)


def _line(record: logging.LogRecord, attempt: int) -> dict[str, Any]:
    try:
        message = record.getMessage()
    except Exception as error:  # the program's handlers say so, too
        message = f"{record.msg!r} (its arguments do not fit: {type(error).__name__})"
    if record.exc_info and record.exc_info[0] is not None:
        message += "\n" + "".join(traceback.format_exception(*record.exc_info)).rstrip()
    if record.stack_info:
        message += f"\n{record.stack_info}"
    return {"level": record.levelname, "logger": record.name, "message": message, "attempt": attempt}
