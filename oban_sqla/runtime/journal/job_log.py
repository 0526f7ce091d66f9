"""The log of a job: a handler that puts the records made in a job into the journal of its run."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from typing import Any, Protocol

from ...telemetry import node_logger, running
from .journal import Journal, Journals
from .line import Unmade, made, merged

_PLAIN = frozenset((str, int, float, bool, type(None)))


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
            journal = run.journal
            journal.log(record.created, line_of(record, journal.row.attempt))
        return True


def line_of(record: logging.LogRecord, attempt: int) -> Unmade | Mapping[str, Any]:
    """What is kept of `record`: its parts where these can't change, else the line that is stored."""
    if not (record.exc_info or record.stack_info) and type(record.msg) is str and _cannot_change(record.args):
        return (record.levelname, record.name, record.msg, record.args)
    message = merged(record.msg, record.args)
    if record.exc_info and record.exc_info[0] is not None:
        message += "\n" + "".join(traceback.format_exception(*record.exc_info)).rstrip()
    if record.stack_info:
        message += f"\n{record.stack_info}"
    return made(record.levelname, record.name, message, attempt)


def _cannot_change(args: tuple[object, ...] | Mapping[str, object] | None) -> bool:
    if not isinstance(args, tuple):
        return args is None
    for each in args:  # noqa: SIM110 (a generator would cost more than all of the rest)
        if type(each) not in _PLAIN:
            return False
    return True
