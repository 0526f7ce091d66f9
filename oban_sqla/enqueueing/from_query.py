"""Enqueueing a job for each row of a query, inside the database."""

from __future__ import annotations

import inspect as inspection
from collections.abc import Awaitable, Mapping
from datetime import datetime
from typing import Any, cast, overload

from sqlalchemy import (
    BindParameter,
    Cast,
    Column,
    CompoundSelect,
    Connection,
    DateTime,
    Engine,
    Enum,
    Integer,
    LargeBinary,
    Numeric,
    Select,
    SelectBase,
    String,
    Subquery,
    TextClause,
    TypeDecorator,
)
from sqlalchemy.exc import UnboundExecutionError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.ext.horizontal_shard import ShardedSession
from sqlalchemy.orm import Session
from sqlalchemy.sql.visitors import iterate
from sqlalchemy.types import JSON, NullType, TypeEngine
from typing_extensions import Unpack

from .. import telemetry
from ..errors import InvalidOption, nearest
from ..models.kind import FIELDS, OPTIONS, Kind, with_options
from ..models.spec import SpecOptions
from ..options.unique import Unique
from ..statements.insert_from import insert_from
from ..types import UTCDateTime
from ..workers.classes import WorkerClass
from ..workers.function import JobFunction, WithOptions
from ..workers.worker import Worker
from ._sqlalchemy import carry_options, has_options
from .binds import FOR_WRITING, bindings, parts_of, reading_where_it_writes, shown
from .composed import group_of
from .sessions import AnySession, SomeAsyncSession, SomeSession, current_session, named
from .unit_of_work import tell, watcher
from .wakeup import SOON, announce, announce_news
from .writer import jobs_connection

Target = JobFunction[..., ..., Any, Any] | WithOptions[..., Any] | WorkerClass[Any]
Parameters = Mapping[str, inspection.Parameter]

OF_ROWS: dict[str, tuple[tuple[type[TypeEngine[Any]], ...], str]] = {
    "scheduled_at": ((DateTime,), "a time"),
    "priority": ((Integer, Numeric), "a number"),
    "queue": ((String,), "text"),
    "max_attempts": ((Integer, Numeric), "a number"),
    "meta": ((JSON,), "JSON, such as func.jsonb_build_object(…)"),
}
"""The options that a column may give, each with the types that the column may have, and how they are called."""


@overload
def enqueue_from(
    session: SomeAsyncSession, worker: Target, query: SelectBase, /, **options: Unpack[SpecOptions]
) -> Awaitable[int]: ...
@overload
def enqueue_from(session: SomeSession, worker: Target, query: SelectBase, /, **options: Unpack[SpecOptions]) -> int: ...
def enqueue_from(session: AnySession, worker: Target, query: SelectBase, /, **options: Unpack[SpecOptions]) -> Any:
    """Enqueue a job for each row of a query, in one ``INSERT … SELECT``: no row travels to the client.

    ::

        await enqueue_from(
            session, remind,
            select(User.id.label("user_id"), User.trial_end.label("scheduled_at")).where(User.on_trial),
        )

    A label is the name of a parameter of the worker's function, or of one of the options ``scheduled_at``,
    ``priority``, ``queue``, ``max_attempts`` and ``meta``. The session's pending objects are flushed first. The
    query's options and execution options hold, and so do listeners of the session (``with_loader_criteria``, tenants).
    Values reach the job as the database prints them in JSON, and are validated when the job runs.

    :param session: an ``AsyncSession`` (await the call) or a ``Session`` (don't), or a scoped session of either.
    :param worker: the function with ``@job``, or the class with ``@worker``. For a class every label that is not an
        option is a key of the args.
    :param query: a ``select`` whose columns have labels, or a union of such.
    :param queue: the name of their queue. Default: the worker's.
    :param priority: 0 (first) to 9 (last). Default: the worker's.
    :param max_attempts: how often one may run before it is discarded, 1 to 32,767. Default: the worker's.
    :param weight: how many starts it counts as in the rate limits of its queue, 1 to 1,000,000. Default: the
        worker's.
    :param tags: strings for finding them by. Default: the worker's.
    :param meta: a dict that is stored with each job, beside its args. Default: the worker's.
    :param scheduled_at: an aware datetime before which none runs.
    :param schedule_in: the same as seconds or a timedelta from now on, by the database's clock.
    :param deadline: seconds or a timedelta after its scheduled time: one that has not started by then is cancelled.
        Default: the worker's.
    :param unique: which jobs are duplicates, a :class:`Unique`. Default: the worker's.
    :returns: how many jobs were written; duplicates of unique jobs are not.
    :raises InvalidOption: before any SQL, for a label that is neither a parameter nor an option, or both; for a missing
        parameter; for columns whose JSON no worker reads back: enums, bytes, and a ``scheduled_at`` without a time
        zone; for an option whose column has another type; for a column that is a ``text()``; for a key of `unique`
        that is not a parameter; and for a sharded session.
    """
    found = current_session(session, "enqueue_from")
    plan = _Plan(worker, query, options)
    if isinstance(found, AsyncSession):
        return named("enqueue_from", found.run_sync(plan.run))
    return plan.run(found)


class _Plan:
    """What was asked, checked before any SQL.

    :raises InvalidOption: as :func:`enqueue_from` does.
    """

    def __init__(self, target: Target, query: Any, options: SpecOptions) -> None:
        worker = cast(object, getattr(target, "worker", None))
        if not isinstance(worker, Worker):
            raise InvalidOption(f"enqueue_from: expected a function with @job or a class with @worker, got {target!r}")
        if not isinstance(query, Select | CompoundSelect):
            raise InvalidOption(f"enqueue_from: expected a select(…) with labels, got {query!r}")
        self.what = f"enqueue_from({worker.name})"
        if worker.encrypted:
            raise InvalidOption(
                f"{self.what}: the worker encrypts its arguments, and the database can't; use enqueue(session, specs)"
            )
        if isinstance(query, CompoundSelect) and any(map(has_options, parts_of(query))):
            raise InvalidOption(f"{self.what}: options of the parts of a union are lost; give them to the union itself")
        self.worker = worker
        self.query: Any = query
        every: list[Any] = [query, *parts_of(query)]
        for part in every:
            if isinstance(part, Select) and any(isinstance(one, TextClause) for one in part.inner_columns):
                raise InvalidOption(
                    f"{self.what}: a column is a text(…), which has no name for the database to give it to the job by; "
                    'use literal_column("…").label("…")'
                )
        self.kind: Kind = with_options(target.spec_kind, cast(Mapping[str, Any], options), self.what)
        worker.refuse_unique(self.kind)
        self.unique: Unique | None = self.kind[FIELDS.index(OPTIONS["unique"].attribute)]
        if self.unique is not None and self.unique.changes:
            raise InvalidOption(
                f"{self.what}: Unique(replace=…) and Unique(debounce=…) can't be used, because one statement either "
                "inserts a job or leaves it out; use enqueue(session, specs)"
            )
        self.rows: Subquery = query.subquery("src")
        self.args, self.options = self._labels(options)
        for name in (*self.args, *self.options):
            self._check_type(name, self.rows.c[name])

    def run(self, session: Session) -> int:
        """Write the jobs.

        :returns: how many.
        :raises InvalidOption: for a query over tables that the session finds elsewhere than the jobs.
        """
        bind = self._checked_bind(session)
        session.flush()
        connection = jobs_connection(session)
        watched = watcher.get() is not None
        noted: dict[str, Any] = {}
        told = {"worker": self.worker.name, "queue": self.kind[FIELDS.index("queue")], "meta": noted}
        with telemetry.span("oban.engine.insert_query", **told) as more:
            statement = insert_from(
                self.rows,
                kind=self.kind,
                unique=self.unique,
                args=self.args,
                options=self.options,
                group=group_of(self.kind),
                noted=noted,
                soon=SOON,
                with_ids=watched,
            )
            with reading_where_it_writes(session, bind):
                rows = session.execute(carry_options(self.query, statement)).all()
            count = sum(int(row.jobs) for row in rows)
            more["count"] = count
        queues, soon = {row.queue for row in rows if row.available}, {row.queue for row in rows if row.soon}
        if queues or soon:
            announce(session, connection, queues, soon)
        if count and self.worker.chain is not None:
            announce_news(session, connection)
        if watched:
            tell(session, sorted(one for row in rows for one in row.ids))
        return count

    def _checked_bind(self, session: Session) -> Engine | Connection:
        """Where the session writes the jobs, if that is where it has the tables of the query."""
        if isinstance(session, ShardedSession):
            raise InvalidOption(
                f"{self.what}: a sharded session has rows on several engines, and one statement reads and writes on "
                "one; give a session on the engine of one shard, or use enqueue(session, specs)"
            )
        jobs = session.get_bind(**FOR_WRITING)
        for of in bindings(self.query):
            try:
                bind = session.get_bind(**of)
            except UnboundExecutionError:  # it says nothing of this table
                continue
            if bind.engine.pool is not jobs.engine.pool:
                table: Any = of["clause"].table
                raise InvalidOption(
                    f"{self.what}: the session has {table.name} on another engine ({shown(bind)}) than the jobs "
                    f"({shown(jobs)}), and one statement can't read there and write here; use enqueue(session, specs)"
                )
        return jobs

    def _labels(self, given: SpecOptions) -> tuple[list[str], list[str]]:
        """The labels that are args, and those that are options."""
        labels = [_label(column, self.what) for column in self.query.selected_columns]
        if twice := [label for label in labels if labels.count(label) > 1]:
            raise InvalidOption(f"{self.what}: two columns are called {twice[0]!r}; give each a label")
        parameters: Parameters = {} if self.worker.arguments is None else self.worker.arguments.signature.parameters
        is_open = self.worker.arguments is None or _takes_any(parameters)
        args: list[str] = []
        options: list[str] = []
        for label in labels:
            if label in OF_ROWS and label in parameters:
                raise InvalidOption(
                    f"{self.what}: {label!r} is a parameter of the function and an option of a job; "
                    "rename the parameter"
                )
            if label in OF_ROWS:
                rivals = {"scheduled_at", "schedule_in"} if label == "scheduled_at" else {label}
                if both := rivals & set(given):
                    raise InvalidOption(f"{self.what}: the option {min(both)!r} and a column {label!r}; choose one")
                options.append(label)
            elif label in parameters or is_open:
                args.append(label)
            else:
                near = nearest(label, [*parameters, *OF_ROWS])
                raise InvalidOption(f"{self.what}: unknown label {label!r}: {near}")
        for name in _needed(parameters):
            if name not in args:
                raise InvalidOption(f"{self.what}: no column has the label {name!r}, and the function needs it")
        return args, options

    def _check_type(self, label: str, column: Column[Any] | Any) -> None:
        kind = column.type
        is_naive = label == "scheduled_at" and not isinstance(kind, UTCDateTime) and _is_naive(kind)
        if is_naive and any(map(_names_naive, iterate(self.query.selected_columns[label]))):
            raise InvalidOption(
                f"{self.what}: scheduled_at has no time zone, so it names no instant; "
                "give func.timezone('UTC', column), or the zone that it is in"
            )
        below = kind.impl_instance if isinstance(kind, TypeDecorator) else kind
        if label in self.options and not isinstance(below, (*OF_ROWS[label][0], NullType)):
            raise InvalidOption(
                f"{self.what}: the option {label!r} takes {OF_ROWS[label][1]}, and its column is {below!r}"
            )
        if isinstance(below, Enum) and label not in self.worker.entities:
            raise InvalidOption(
                f"{self.what}: {label!r} is an enum, of which the database has the name, and the worker reads the "
                "value; select what the worker reads, such as case(…)"
            )
        if isinstance(below, LargeBinary):
            raise InvalidOption(f"{self.what}: {label!r} is bytes, which JSON can't carry; select a text of them")


def _label(column: Any, what: str) -> str:
    """The name by which a column is known; of an expression, the label that it was given."""
    name: object = column.key
    if not isinstance(name, str) or (isinstance(column, BindParameter) and column.unique):
        raise InvalidOption(f'{what}: the column {column} has no name; give it one: .label("…")')
    return name


def _is_naive(type_: TypeEngine[Any]) -> bool:
    return isinstance(type_, DateTime) and not type_.timezone


def _names_naive(element: Any) -> bool:
    """Whether it says itself that it has no zone. SQLAlchemy says so of ``func.now()``, too, which has one."""
    if isinstance(element, BindParameter):
        value = cast(object, cast(Any, element).value)
        return isinstance(value, datetime) and value.tzinfo is None
    return isinstance(element, Column | Cast) and _is_naive(cast(Any, element).type)


def _needed(parameters: Parameters) -> list[str]:
    return [
        name
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
    ]


def _takes_any(parameters: Parameters) -> bool:
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
