"""A batch: jobs whose ends are watched together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn, cast

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    FromClause,
    Identity,
    Index,
    Subquery,
    Table,
    Text,
    case,
    func,
    inspect,
    select,
    text,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapped, column_property, foreign, mapped_column, relationship

from ..errors import InvalidOption
from ..options.instance import told
from ..types import ByAnnotation, UTCMapped
from .base import ObanBase, utc_column
from .checks import check_name
from .job import NOW, Job, jobs
from .place import Place
from .spec import JobSpec

KINDS = ("attempted", "cancelled", "completed", "discarded", "exhausted", "retryable")
"""When a callback is enqueued."""


class Batch(ObanBase, ByAnnotation):
    """Jobs that are enqueued together, with callbacks that are enqueued when something has become of them.

    ::

        session.add(Batch([send.new(user.id) for user in users], on_exhausted=report.new()))

    Add it to a session like any other object; the flush writes it and its jobs. Callbacks are jobs; each is enqueued at
    most once, whatever is retried later. A callback may ask for its batch: ``async def report(batch: Batch)``. More
    jobs are added with ``await enqueue(session, specs, batch=batch)``, until it has finished.

    :param specs: a spec, or any iterable of specs; at least one.
    :param name: for people. Default: none.
    :param on_attempted: enqueued when each job has been tried once. Default, as of each callback: none.
    :param on_completed: enqueued when all jobs are completed.
    :param on_exhausted: enqueued when all jobs are completed, cancelled or discarded.
    :param on_cancelled: enqueued when the first job is cancelled.
    :param on_discarded: enqueued when the first job is discarded.
    :param on_retryable: enqueued when the first job has failed and is to be tried again.
    :raises InvalidOption: for what is not a spec, for no job at all, or for a spec that is in another batch or flow.

    :ivar id: the primary key; None before the flush, and readable after the commit without a refresh.
    :ivar name: as it was given.
    :ivar callbacks: what is enqueued when, as the database keeps it: a dict; loaded when it is first read.
    :ivar fired: which callbacks' time has come, by name: ``["attempted", "exhausted"]``.
    :ivar inserted_at: when it was enqueued.
    :ivar finished_at: when its last job had finished; None before, and again when one is retried.
    :ivar jobs: its jobs, a view-only relationship.
    :ivar counts: the number of jobs by state, a dict; loaded when it is first read, and as it was then.
    """

    __tablename__ = "oban_batches"

    _id: Mapped[int] = mapped_column("id", BigInteger, Identity(always=True), primary_key=True)
    name: Mapped[str | None] = mapped_column(Text)
    callbacks: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"), deferred=True)
    fired: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    inserted_at: UTCMapped[datetime] = utc_column(server_default=NOW)
    finished_at: UTCMapped[datetime | None] = utc_column()

    jobs: Mapped[list[Job]] = relationship(
        Job, primaryjoin=lambda: Batch._id == foreign(jobs.c.batch_id), viewonly=True, order_by=jobs.c.id
    )
    if TYPE_CHECKING:
        counts: Mapped[dict[str, int]]

    __table_args__ = (
        Index("oban_batches_finished_index", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
    )

    def __init__(
        self,
        specs: JobSpec | Iterable[JobSpec],
        name: str | None = None,
        *,
        on_attempted: JobSpec | None = None,
        on_completed: JobSpec | None = None,
        on_exhausted: JobSpec | None = None,
        on_cancelled: JobSpec | None = None,
        on_discarded: JobSpec | None = None,
        on_retryable: JobSpec | None = None,
    ) -> None:
        found = specs_of(specs, "Batch")
        if not found:
            raise InvalidOption("Batch: expected at least one job; a batch of none would never finish")
        given = {
            "attempted": on_attempted,
            "cancelled": on_cancelled,
            "completed": on_completed,
            "discarded": on_discarded,
            "exhausted": on_exhausted,
            "retryable": on_retryable,
        }
        for kind, callback in given.items():
            if callback is not None and not isinstance(callback, JobSpec):
                raise InvalidOption(f"Batch: on_{kind} must be a job such as report.new(), got {callback!r}")
        self.name = None if name is None else check_name("Batch: name", name)
        self._specs = place(found, "Batch")
        self._on = {kind: callback for kind, callback in given.items() if callback is not None}

    @hybrid_property
    def id(self) -> int | None:
        """The primary key; None before the flush. Unlike other attributes it can be read after a commit."""
        state: Any = inspect(self)
        return cast("int | None", state.dict.get("_id") if state.key is None else state.key[1][0])

    @id.inplace.expression
    @classmethod
    def _id_in_sql(cls) -> ColumnElement[int]:
        return cast("ColumnElement[int]", cls._id)

    def add(self, spec: JobSpec) -> JobSpec:
        """Add a job before the batch is written.

        :param spec: the job.
        :returns: the job.
        :raises InvalidOption: for what is not a spec, or if the batch was written: then use ``enqueue(…, batch=…)``.
        """
        if self.id is not None or "_specs" not in vars(self):
            raise InvalidOption(
                f"{self!r} is written; more jobs are added by await enqueue(session, specs, batch=batch)"
            )
        self._specs += place(specs_of(spec, "Batch.add"), "Batch.add")
        return spec

    @property
    def unwritten(self) -> tuple[list[JobSpec], Mapping[str, JobSpec]]:
        """The jobs and callbacks that the flush is to write.

        :raises InvalidOption: for what `merge` has made.
        """
        if "_specs" not in vars(self):
            raise InvalidOption(
                "session.merge(batch): a batch that was not written can't be merged, its jobs would be lost; add it "
                "with session.add(batch)"
            )
        return self._specs, self._on

    def __iter__(self) -> NoReturn:
        raise InvalidOption("a batch is one object: session.add(batch); its jobs are batch.jobs")

    def __init_subclass__(cls, **_: Any) -> None:
        raise InvalidOption(f"{cls.__name__}: Batch can't be subclassed; keep what belongs to it in a table, by its id")

    def __repr__(self) -> str:
        return f"<Batch id={self.id} name={vars(self).get('name')!r}>"


def specs_of(given: object, what: str) -> list[JobSpec]:
    """`given`, a spec or an iterable of specs, as a list.

    :param what: takes it, for messages.
    :raises InvalidOption: for anything else, and a spec that comes twice.
    """
    if isinstance(given, JobSpec):
        return [given]
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise InvalidOption(f"{what}: expected jobs such as [send.new(1)], got {told(given)}")
    found: list[Any] = []
    for spec in cast("Iterable[object]", given):
        if not isinstance(spec, JobSpec):
            raise InvalidOption(f"{what}: expected jobs such as send.new(1), got {told(spec)}")
        found.append(spec)
    if len({id(spec) for spec in found}) < len(found):
        raise InvalidOption(f"{what}: a spec comes twice; each job needs its own: send.new(1)")
    return found


def place(specs: list[JobSpec], what: str) -> list[JobSpec]:
    """Let these specs belong to a batch, whose id the flush fills in.

    :raises InvalidOption: for one that belongs to another batch or flow, or was written.
    """
    for spec in specs:
        if spec.place is not None or spec.id is not None:
            where = "was enqueued" if spec.id is not None else "is in another batch or flow"
            raise InvalidOption(f"{what}: {spec!r} {where}; make another one: worker.new(…)")
    for spec in specs:
        spec.place = Place()
    return specs


batches = cast(Table, Batch.__table__)


def jobs_by_state(of: FromClause, batch: FromClause) -> Subquery:
    """The number of jobs by state, for the batch of the row around it.

    :param of: the jobs.
    :param batch: the batches, of which the query around it selects.
    """
    return (
        select(sql_cast(of.c.state, Text).label("state"), func.count().label("number"))
        .where(of.c.batch_id == batch.c.id)
        .group_by(of.c.state)
        .correlate(batch)
        .subquery("by_state")
    )


def _counts() -> ColumnElement[Any]:
    """The number of jobs by state. The CASE brings the batch into a query that selects nothing else of it."""
    by_state = jobs_by_state(jobs.alias("counted"), batches)
    whole = select(func.coalesce(func.jsonb_object_agg(by_state.c.state, by_state.c.number), text("'{}'::jsonb")))
    return case((batches.c.id.is_not(None), sql_cast(whole.correlate(batches).scalar_subquery(), JSONB)))


Batch.counts = column_property(_counts(), deferred=True)

__all__ = ["KINDS", "Batch", "batches", "jobs_by_state", "place", "specs_of"]
