"""One fetched row, and the :class:`Job` that it becomes when a worker or hook asks for one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy.orm import class_mapper, make_transient_to_detached

from ..models import Job
from ..statements.fetch import FETCHED
from ..types import JobState


class Row:
    """A job as a fetch returns it. JSON stays text until it is needed."""

    __slots__ = ("_job", "attempted_by", "queue", *FETCHED)

    id: int
    worker: str
    attempt: int
    max_attempts: int
    priority: int
    args: str
    meta: str
    errors: str
    tags: list[str]
    inserted_at: datetime
    scheduled_at: datetime
    attempted_at: datetime
    cancelled_at: datetime | None
    completed_at: datetime | None
    discarded_at: datetime | None

    def __init__(self, values: Sequence[Any], queue: str, attempted_by: list[str]) -> None:
        (
            self.id,
            self.worker,
            self.attempt,
            self.max_attempts,
            self.priority,
            self.args,
            self.meta,
            self.errors,
            self.tags,
            self.inserted_at,
            self.scheduled_at,
            self.attempted_at,
            self.cancelled_at,
            self.completed_at,
            self.discarded_at,
        ) = values
        self.queue = queue
        self.attempted_by = attempted_by
        self._job: Job | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # As it was fetched; the job is made anew from that.
        return Row, ([getattr(self, name) for name in FETCHED], self.queue, self.attempted_by)

    @property
    def order(self) -> tuple[int, datetime, int]:
        """The place of the job in its queue."""
        return (self.priority, self.scheduled_at, self.id)

    @property
    def job(self) -> Job:
        """The job, detached, as ``select(Job)`` would have loaded it right after the fetch."""
        if self._job is None:
            self._job = job = class_mapper(Job).class_manager.new_instance()
            loaded: dict[str, Any] = vars(job)
            loaded.update(
                id=self.id,
                state=JobState.EXECUTING,
                queue=self.queue,
                worker=self.worker,
                attempt=self.attempt,
                max_attempts=self.max_attempts,
                priority=self.priority,
                args=json.loads(self.args),
                meta=json.loads(self.meta),
                errors=json.loads(self.errors),
                tags=list(self.tags),
                attempted_by=list(self.attempted_by),
                inserted_at=_aware(self.inserted_at),
                scheduled_at=_aware(self.scheduled_at),
                attempted_at=_aware(self.attempted_at),
                cancelled_at=_aware(self.cancelled_at),
                completed_at=_aware(self.completed_at),
                discarded_at=_aware(self.discarded_at),
            )
            make_transient_to_detached(job)
        return self._job

    @property
    def meta_object(self) -> dict[str, Any]:
        """The meta, or an empty dict where another program wrote something else, or more than Python reads."""
        try:
            meta: Any = json.loads(self.meta)
        except (ValueError, RecursionError):
            return {}
        return cast(dict[str, Any], meta) if isinstance(meta, dict) else {}


def _aware(value: datetime | None) -> datetime | None:
    return None if value is None else value.replace(tzinfo=UTC)
