"""The job: one row of ``oban_jobs``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ColumnElement,
    Float,
    Identity,
    Index,
    Integer,
    Interval,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    TextClause,
    case,
    func,
    inspect,
    literal_column,
    text,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapped, column_property, mapped_column

from ..types import FINISHED, JobState, JobStateType, UTCDateTime, UTCMapped, WorkerName
from .asked import was_asked
from .base import NOW as NOW
from .base import ObanBase, utc_column, utc_now
from .checks import (
    check_delay,
    check_name,
    check_names,
    check_object,
    check_time,
    check_unique,
    integer,
    unique_as_json,
)
from .columns import Option, brought
from .progress import Progress, progress_at


def _where(*states: JobState) -> TextClause:
    names = ", ".join(f"'{state.value}'" for state in states)
    return text(f"state = {names}" if len(states) == 1 else f"state IN ({names})")


# Columns that only the queue's own statements use: NULL (or 0) in a job that uses none of the features, where they
# cost nothing. They are no attributes of Job: a Job is what Oban's is.
MACHINERY = (
    # Unique jobs: the key counts while it stands here; a trigger clears it when the state leaves the mask.
    Column("uniq_key", LargeBinary),
    Column(
        "uniq_mask",
        SmallInteger,
        nullable=False,
        server_default=text("0"),
        info=brought(Option("unique", check_unique, value=unique_as_json, changes=False)),
    ),
    # Limits by partition: '?' marks what a program has written that knows no partitions. Collation C, so that the
    # client's cursor and the index agree on what comes next.
    Column("partition_key", Text(collation="C"), server_default=text("'?'")),
    # How many of the arguments are results of other jobs of the flow, put there when the job is released.
    Column("remaining", Integer),
    # With which others it runs in one call.
    Column("chunk_key", Text(collation="C")),
    # When an executing job was asked to stop: the mark outlives a lost notification.
    Column("cancel_at", UTCDateTime),
)

CONSTRAINTS = (
    CheckConstraint("attempt >= 0 AND attempt <= max_attempts", name="attempt_range"),
    CheckConstraint("char_length(queue) > 0", name="queue_length"),
    CheckConstraint("char_length(worker) > 0", name="worker_length"),
    CheckConstraint("max_attempts > 0", name="positive_max_attempts"),
    CheckConstraint("priority >= 0", name="non_negative_priority"),
)

# Small and partial, one per concern: a fetch costs the same beside ten rows of history and beside ten million.
_FETCH = ("queue", "priority", "scheduled_at", "id")
_WAITING = _where(JobState.SCHEDULED, JobState.RETRYABLE)
_EXHAUSTED = "state = 'available' AND attempt >= max_attempts"
# As the migration has to write it; the planner knows that `state = 'suspended'` implies it.
_SUSPENDED = "state NOT IN ({})".format(", ".join(repr(s.value) for s in JobState if s is not JobState.SUSPENDED))
INDEXES = (
    Index("oban_jobs_fetch_index", *_FETCH, postgresql_where=_where(JobState.AVAILABLE)),
    Index("oban_jobs_staging_index", "scheduled_at", "id", postgresql_include=["queue"], postgresql_where=_WAITING),
    # The id leads, so that an ack by id never mistakes this index for a shorter way (it does with the queue in front).
    Index("oban_jobs_executing_index", "id", postgresql_include=["queue"], postgresql_where=_where(JobState.EXECUTING)),
    # Always empty, unless another or an older program left jobs that no fetch takes; the lifeline asks.
    Index("oban_jobs_exhausted_index", "id", postgresql_where=text(_EXHAUSTED)),
    Index("oban_jobs_completed_at_index", "completed_at", postgresql_where=_where(JobState.COMPLETED)),
    Index("oban_jobs_cancelled_at_index", "cancelled_at", postgresql_where=_where(JobState.CANCELLED)),
    Index("oban_jobs_discarded_at_index", "discarded_at", postgresql_where=_where(JobState.DISCARDED)),
    Index("oban_jobs_unique_index", "uniq_key", unique=True, postgresql_where=text("uniq_key IS NOT NULL")),
    # Partitions. The priority first: keys take turns within it.
    Index(
        "oban_jobs_ring_index",
        *("queue", "priority", "partition_key", "scheduled_at", "id"),
        postgresql_where=text("state = 'available' AND partition_key IS NOT NULL"),
    ),
    Index(
        "oban_jobs_ring_executing_index",
        *("queue", "partition_key"),
        postgresql_where=text("state = 'executing' AND partition_key IS NOT NULL"),
    ),
    # Composition. With the state, in which what has not finished comes first.
    *(
        Index(f"oban_jobs_{of}_state_index", f"{of}_id", "state", postgresql_where=text(f"{of}_id IS NOT NULL"))
        for of in ("workflow", "batch")
    ),
    Index("oban_jobs_chain_index", "chain_key", "state", "id", postgresql_where=text("chain_key IS NOT NULL")),
    Index(
        "oban_jobs_chunk_index",
        *("queue", "chunk_key", "priority", "scheduled_at", "id"),
        postgresql_where=text("state = 'available' AND chunk_key IS NOT NULL"),
    ),
    # For lists: the runs of a cron entry, and what waits to be released.
    Index(
        "oban_jobs_cron_index",
        *(text("(meta ->> 'cron_name')"), "id"),
        postgresql_where=text("meta ? 'cron_name'"),
    ),
    Index("oban_jobs_suspended_index", "id", postgresql_where=text(_SUSPENDED)),
)


class Job(ObanBase):
    """A job that was enqueued: one row of ``oban_jobs``. The names and types of the columns are Oban's.

    Query it like any mapped class: ``select(Job).where(Job.worker == send_welcome, Job.state == "completed")``. To
    enqueue a job, add a :class:`JobSpec`, not a ``Job``.

    :ivar id: the primary key.
    :ivar state: a :class:`JobState`; a plain string for a state that this version does not know.
    :ivar queue: the name of its queue.
    :ivar worker: the name of its worker. Comparisons accept the worker, too.
    :ivar attempt: how often it has started; 0 before the first run.
    :ivar max_attempts: how often it may start before it is discarded.
    :ivar priority: 0 (first) to 9 (last).
    :ivar args: the arguments, a dict.
    :ivar meta: a dict beside the args, with notes of the runtime: ``return``, ``snoozed``, ``rescued``, …
    :ivar tags: strings.
    :ivar errors: one dict per failed attempt: ``attempt``, ``at`` and ``error``.
    :ivar attempted_by: the node and the uuid of the producer that ran it last.
    :ivar inserted_at: when it was enqueued.
    :ivar scheduled_at: when it is, or was, due.
    :ivar attempted_at: when its last attempt started; None before the first.
    :ivar cancelled_at: when it was cancelled; else None.
    :ivar completed_at: when it was completed; else None.
    :ivar discarded_at: when it was discarded; else None.
    :ivar workflow_id: the id of its workflow; else None.
    :ivar node_name: its name in that workflow; else None.
    :ivar batch_id: the id of its batch; else None.
    :ivar chain_key: which chain it is in; else None.
    :ivar progress: the :class:`Progress` that it last told with :func:`progress`; None if it told none, and in the job
        that :func:`current_job` returns. In SQL also ``Job.progress.done``, ``.total``, ``.note``, ``.at`` and
        ``.fraction``.

    Timestamps are aware UTC datetimes. In SQL expressions put the column on the left:
    ``Job.completed_at > func.now() - timedelta(hours=1)`` is right under any session time zone, and
    ``func.now() > Job.completed_at`` is not. ``Job.completed_at.utc()`` is a ``timestamptz`` for all other uses.
    """

    __tablename__ = "oban_jobs"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    state: Mapped[JobState] = mapped_column(JobStateType, server_default=text("'available'"))
    attempt: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))

    # What a spec brings, in the order of the insertion.
    worker: Mapped[str] = mapped_column(WorkerName, info=brought())
    queue: Mapped[str] = mapped_column(
        Text, server_default=text("'default'"), info=brought(Option("queue", check_name, "default"))
    )
    args: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"), info=brought())
    meta: Mapped[dict[str, Any]] = mapped_column(
        JSONB,
        server_default=text("'{}'"),
        info=brought(Option("meta", check_object, "{}", attribute="meta_json", value=json.loads)),
    )
    tags: Mapped[list[str]] = mapped_column(
        ARRAY(Text), server_default=text("ARRAY[]::text[]"), info=brought(Option("tags", check_names, (), value=list))
    )
    priority: Mapped[int] = mapped_column(
        SmallInteger,
        server_default=text("0"),
        info=brought(Option("priority", integer(0, 9, "0 runs first"), 0)),
    )
    max_attempts: Mapped[int] = mapped_column(
        SmallInteger,
        server_default=text("20"),
        info=brought(Option("max_attempts", integer(1, 32_767, "how often the job may run"), 20)),
    )
    # What its attempts leave.
    errors: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'"))
    attempted_by: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("ARRAY[]::text[]"))

    inserted_at: UTCMapped[datetime] = utc_column(server_default=NOW)
    scheduled_at: UTCMapped[datetime] = utc_column(
        server_default=NOW,
        info=brought(
            Option("scheduled_at", check_time, parameter="at", of_worker=False),
            Option("schedule_in", check_delay, parameter="delay", type=Float(), of_worker=False),
        ),
    )
    attempted_at: UTCMapped[datetime | None] = utc_column()
    cancelled_at: UTCMapped[datetime | None] = utc_column()
    completed_at: UTCMapped[datetime | None] = utc_column()
    discarded_at: UTCMapped[datetime | None] = utc_column()

    # Composition: null in a job that is in none, which costs it nothing.
    workflow_id: Mapped[int | None] = mapped_column(BigInteger)
    node_name: Mapped[str | None] = mapped_column(Text)
    batch_id: Mapped[int | None] = mapped_column(BigInteger)
    chain_key: Mapped[str | None] = mapped_column(Text(collation="C"))
    progress: Mapped[Progress | None] = column_property(progress_at(cast(Any, id)))

    __table_args__ = (*MACHINERY, *CONSTRAINTS, *INDEXES)
    __mapper_args__ = {"exclude_properties": [column.name for column in MACHINERY]}  # noqa: RUF012

    @hybrid_property
    def is_finished(self) -> bool:
        """Whether the job is completed, cancelled or discarded, and will not run again unless it is retried."""
        return self.state in FINISHED

    @is_finished.inplace.expression
    @classmethod
    def _is_finished(cls) -> ColumnElement[bool]:
        return cls.state.in_([literal_column(f"'{state.value}'") for state in JobState if state in FINISHED])

    @hybrid_property
    def queue_time(self) -> timedelta | None:
        """How long the job was due when its last attempt started; None before the first."""
        return None if self.attempted_at is None else self.attempted_at - self.scheduled_at

    @queue_time.inplace.expression
    @classmethod
    def _queue_time(cls) -> ColumnElement[timedelta | None]:
        return type_coerce(cls.attempted_at.utc() - cls.scheduled_at.utc(), Interval())

    @hybrid_property
    def duration(self) -> timedelta | None:
        """How long the last attempt ran, until its end or until now; None before the first."""
        if self.attempted_at is None:
            return None
        end = self.completed_at or self.discarded_at or self.cancelled_at
        return (datetime.now(UTC) if end is None else end) - self.attempted_at

    @duration.inplace.expression
    @classmethod
    def _duration(cls) -> ColumnElement[timedelta | None]:
        end = func.coalesce(cls.completed_at, cls.discarded_at, cls.cancelled_at, utc_now(), type_=UTCDateTime())
        return type_coerce(case((cls.attempted_at.is_not(None), end - cls.attempted_at)), Interval())

    @hybrid_property
    def age(self) -> timedelta:
        """How long ago the job was inserted."""
        return datetime.now(UTC) - self.inserted_at

    @age.inplace.expression
    @classmethod
    def _age(cls) -> ColumnElement[timedelta]:
        return type_coerce(func.now() - cls.inserted_at.utc(), Interval())

    def cancelled(self) -> bool:
        """Whether this run of the job was asked to stop: by its timeout, by :meth:`Oban.cancel`, or because its node
        stops.

        For the job that a worker gets. It is the same as :func:`cancelled`, but works in every thread, also in one that
        the job has started itself. In a chunk it is also True for a job that was cancelled alone. (As in oban-py.)

        :returns: True if it should stop. False for a job that was read from the database: ``job.state`` is its state.
        """
        return was_asked(self)

    def __repr__(self) -> str:
        # Only what is loaded: after a commit the rest would have to be read, which an AsyncSession can't do here.
        loaded = vars(self)
        identity = inspect(self).identity
        told = [f" {name}={str(loaded[name])!r}" for name in ("worker", "queue", "state") if name in loaded]
        return f"<Job id={loaded.get('id') if identity is None else identity[0]}{''.join(told)}>"


jobs = cast(Table, Job.__table__)

_machinery = {column.name for column in MACHINERY}
mapped = tuple(column for column in jobs.c if column.name not in _machinery)
"""The columns that are attributes of :class:`Job`."""


def names(first: Sequence[str], without: Sequence[str] = ()) -> tuple[str, ...]:
    """The names of the columns that are attributes of :class:`Job`: `first` these, and all others after them.

    :param without: those that are left out.
    """
    return (*first, *(column.name for column in mapped if column.name not in (*first, *without)))
