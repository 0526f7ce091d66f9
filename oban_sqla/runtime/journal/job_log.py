"""The log of a job: a handler that puts the records made in a job into the journal of its run."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol

from ...options.job_logs import JobLogs
from ...telemetry import node_logger, running
from .journal import APART, Apart, Journal, Journals
from .line import merged

_FIXED = frozenset((str, int, float, bool, type(None)))
"""Types of arguments that will be the same when the line is made."""


class _Logging(Protocol):
    """A run whose log may be kept."""

    @property
    def journals(self) -> Journals: ...

    @property
    def opened(self) -> Journal | None: ...

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
        if run is None or run.journals is not self._journals:
            return True
        message, args = record.msg, record.args
        # The parts are kept where they can't change; the line is made of them if it is ever stored. Written out here,
        # because this is done for each record, and to call a function takes as long as what it does.
        if type(message) is str and type(args) is tuple and not (record.exc_info or record.stack_info):
            for arg in args:
                if type(arg) not in _FIXED:
                    break
            else:
                # To ask for what was opened spares the call of a property.
                (run.opened or run.journal).log(record.created, record.levelname, record.name, message, args)
                return True
        run.journal.log(record.created, record.levelname, record.name, message_of(record))
        return True


@contextmanager
def kept_apart(log: JobLogs | None) -> Generator[Apart]:
    """Journals for runs that no node looks after, which keep their logs meanwhile if `log` says so."""
    if log is None:
        yield APART
        return
    journals = Apart(log.most)
    handler = JobLog(journals, log.number)
    logging.getLogger().addHandler(handler)  # without a warning of its level: the node has warned of its own
    try:
        yield journals
    finally:
        handler.detach()


def message_of(record: logging.LogRecord) -> str:
    """The message of `record`, with its exception and its stack."""
    message = merged(record.msg, record.args)
    if record.exc_info and record.exc_info[0] is not None:
        message += "\n" + "".join(traceback.format_exception(*record.exc_info)).rstrip()
    if record.stack_info:
        message += f"\n{record.stack_info}"
    return message
