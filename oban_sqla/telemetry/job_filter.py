"""Which job a log record was made in."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import Any

running: ContextVar[Any] = ContextVar("oban_sqla_running")
"""The run of a job, in the code of that job. Set by the runtime and by children of a node."""

ended: ContextVar[Any] = ContextVar("oban_sqla_ended")
"""The job whose run has ended, in the hooks that are called after it."""

FIELDS = ("job_id", "worker", "queue", "attempt")


class JobFilter(logging.Filter):
    """Puts ``job_id``, ``worker``, ``queue`` and ``attempt`` on every record that is made inside a job, or in a hook.

    ::

        handler = logging.StreamHandler()
        handler.addFilter(telemetry.JobFilter())
        handler.setFormatter(logging.Formatter("%(levelname)s [job %(job_id)s] %(message)s"))

    Add it to a handler, not to a logger: filters of a logger see only records of that logger. It works in coroutines,
    in the threads of plain functions and in child processes. Records that are made outside of a job, or in a thread
    that a job has started itself, get None for all four. Attributes that a record already has are not changed.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the attributes.

        :param record: the record.
        :returns: True: no record is dropped.
        """
        run = running.get(None)
        row = ended.get(None) if run is None else run.row
        values = (None,) * 4 if row is None else (row.id, row.worker, row.queue, row.attempt)
        for name, value in zip(FIELDS, values, strict=True):
            if not hasattr(record, name):
                setattr(record, name, value)
        return True
