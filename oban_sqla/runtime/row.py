"""One fetched row, and the :class:`Job` that it becomes when a worker or hook asks for one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

from sqlalchemy import Column
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import make_transient_to_detached

from ..models import Job
from ..models.asked import let_look
from ..models.job import jobs
from ..options.payload import object_of
from ..statements.fetch import FETCHED, Fetched
from ..types import JobState, UTCDateTime
from ..workers.context import running


@dataclass(slots=True, eq=False, repr=False)
class Row(Fetched):
    """A job as a fetch returns it. JSON stays text until it is needed.

    :param queue: from which it was fetched.
    :param attempted_by: the node that runs it, and the producer.
    """

    queue: str
    attempted_by: list[str]
    _job: Job | None = field(default=None, init=False)

    def __reduce__(self) -> tuple[Any, ...]:
        # As it was fetched; the job is made anew from that.
        return Row, (*_values(self), self.queue, self.attempted_by)

    @property
    def order(self) -> tuple[int, datetime, int]:
        """The place of the job in its queue."""
        return (self.priority, self.scheduled_at, self.id)

    @property
    def keeps_result(self) -> bool:
        """Whether another job of its workflow uses its value."""
        return self.meta != "{}" and '"keep_result": true' in self.meta and self.meta_object.get("keep_result") is True

    @property
    def deadline(self) -> float | None:
        """Seconds after its time within which it has to start; None where the worker says it."""
        found = self.meta_object.get("deadline") if '"deadline": ' in self.meta else None
        return found if isinstance(found, int | float) and not isinstance(found, bool) else None

    @property
    def composed(self) -> bool:
        """Whether its end is news: for a flow, a batch or a chain."""
        return self.workflow_id is not None or self.batch_id is not None or self.chain_key is not None

    @property
    def job(self) -> Job:
        """The job, detached, as ``select(Job)`` would have loaded it right after the fetch."""
        if self._job is None:
            job = Job()
            loaded: dict[str, Any] = vars(job)
            loaded.update(zip(FETCHED, _values(self), strict=True))
            for name, read in _READ:
                loaded[name] = read(loaded[name])
            loaded.update(
                state=JobState.EXECUTING, queue=self.queue, attempted_by=list(self.attempted_by), progress=None
            )
            make_transient_to_detached(job)
            if (run := running.get(None)) is not None and run.row is self:
                let_look(job, run.asked.look)
            self._job = job  # not before: what can't be read is to be refused again
        return self._job

    @property
    def log_extra(self) -> dict[str, Any]:
        """What records about the job have besides their text."""
        return {"job_id": self.id, "worker": self.worker, "queue": self.queue, "attempt": self.attempt}

    @property
    def has_record(self) -> bool:
        """Whether an earlier run has recorded a value."""
        return self.meta != "{}" and '"recorded": true' in self.meta and self.meta_object.get("recorded") is True

    @property
    def meta_object(self) -> dict[str, Any]:
        """The meta, or an empty dict where another program wrote something else, or more than Python reads."""
        return object_of(self.meta)


row_of: Callable[..., Row] = Row
"""Makes a row of the values of :data:`FETCHED`, the queue and ``attempted_by``, in this order."""


def _aware(value: datetime | None) -> datetime | None:
    return None if value is None else value.replace(tzinfo=UTC)


def _parsed(text: str) -> Any:
    # Most jobs have neither meta nor errors, and asking costs a tenth of parsing.
    if text == "{}":
        return {}
    if text == "[]":
        return []
    return json.loads(text)


def _reading(column: Column[Any]) -> Callable[[Any], Any] | None:
    """What makes of a fetched value the one that a Job has; None where they are the same."""
    match column.type:
        case JSONB():
            return _parsed
        case ARRAY():
            return list
        case UTCDateTime():
            return _aware
        case _:
            return None


_values = attrgetter(*FETCHED)
_READ = [(name, read) for name in FETCHED if (read := _reading(jobs.c[name])) is not None]
