"""Column types of the Oban tables, and the states of a job.

Oban keeps its times in ``timestamp without time zone`` columns that hold UTC. Comparing such a column with ``now()``
in SQL silently converts by the *session's* time zone, and binding an aware datetime is refused by asyncpg. The type
:class:`UTCDateTime` makes every promised form right: it converts the other operand and leaves the column bare, so that
an index on it stays usable.
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard, TypeVar, overload

from sqlalchemy import DateTime, Dialect, Interval, Text, TypeDecorator, cast, func, literal_column, select, type_coerce
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import InstrumentedAttribute, Mapped
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BindParameter, CollectionAggregate, ColumnElement, Null
from sqlalchemy.sql.selectable import Select, SelectBase
from sqlalchemy.types import TypeEngine

from .errors import InvalidOption, NotAWorker

T = TypeVar("T")

_ZONE: ColumnElement[str] = literal_column("'UTC'")


class ByAnnotation:
    """Base of classes, beside ``Job`` and sessions, whose objects the runtime fills in where a parameter has them as
    its annotation, without a mark."""

    __slots__ = ()


class JobState(enum.StrEnum):
    """The state of a job. The names and their order are Oban's."""

    AVAILABLE = "available"
    """It may run now, and waits for a free slot of a node."""
    SCHEDULED = "scheduled"
    """It waits for its ``scheduled_at``: it was enqueued for later, snoozes, sleeps, or waits for a signal."""
    SUSPENDED = "suspended"
    """It waits for other jobs: those before it in its workflow or chain."""
    EXECUTING = "executing"
    """A node runs it."""
    RETRYABLE = "retryable"
    """An attempt has failed, and it waits for its backoff."""
    COMPLETED = "completed"
    """It has returned."""
    DISCARDED = "discarded"
    """It failed with no attempts left, or raised ``Discard``."""
    CANCELLED = "cancelled"
    """It was cancelled, or raised ``Cancel``."""

    @property
    def is_finished(self) -> bool:
        """Whether a job in this state will not run again unless it is retried."""
        return self in FINISHED


FINISHED = frozenset({JobState.COMPLETED, JobState.DISCARDED, JobState.CANCELLED})

state_enum = postgresql.ENUM(*(state.value for state in JobState), name="oban_job_state", create_type=False)


class _Loads(Protocol):
    def __call__(self, value: Any) -> JobState | None: ...


class JobStateType(TypeDecorator[JobState]):
    """``oban_job_state``. A state that a future version adds loads as a plain string instead of raising."""

    impl = state_enum
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return state_enum  # the one object whose schema `use_schema` sets

    def process_bind_param(self, value: JobState | str | None, dialect: Dialect) -> str | None:
        return None if value is None else str(value)

    def result_processor(self, dialect: Dialect, coltype: object) -> _Loads:
        known: dict[Any, Any] = {state.value: state for state in JobState}

        def load(value: Any) -> JobState | None:
            loaded: JobState | None = known.get(value, value)
            return loaded

        return load


class WorkerName(TypeDecorator[str]):
    """A worker's name. Takes the worker itself too: ``Job.worker == send_welcome``."""

    impl = Text
    cache_ok = True

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:
        return (
            self
            if isinstance(value, str) or worker_name_of(value) is not None
            else super().coerce_compared_value(op, value)
        )

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else str(worker_name_of(value) or value)


def worker_name_of(value: Any) -> str | None:
    """The name of a worker; None for anything else.

    :raises NotAWorker: for a class that inherits from a worker, and is not decorated.
    """
    try:
        name = value.worker_name
    except NotAWorker:
        raise
    except AttributeError:
        return None
    return name if isinstance(name, str) else None


def naive_utc(value: object) -> datetime:
    """An aware datetime as a ``timestamp`` column holds it.

    :raises InvalidOption: for a naive one, which names no instant, and for anything else.
    """
    if not isinstance(value, datetime):
        raise InvalidOption(f"time of a job: expected an aware datetime, got {value!r}")
    if value.utcoffset() is None:
        raise InvalidOption(
            f"naive datetime {value.isoformat()}: times of jobs are instants; "
            "give an aware datetime, such as datetime.now(timezone.utc)"
        )
    try:
        return value.astimezone(UTC).replace(tzinfo=None)
    except OverflowError:
        raise InvalidOption(f"time of a job: {value.isoformat()} is not in the years 1 to 9999 of UTC") from None


class UTCDateTime(TypeDecorator[datetime]):
    """A ``timestamp`` that holds UTC: aware datetimes in Python, and right comparisons under any session time zone.

    ``Job.completed_at <op> other`` converts *other* (an SQL expression that is a timestamptz, such as
    ``func.now() - timedelta(hours=1)``, or an aware datetime) to UTC. The column must stand on the left; for every
    other expression :meth:`Comparator.utc` gives a ``timestamptz``.
    """

    impl = postgresql.TIMESTAMP(timezone=False)
    cache_ok = True

    class Comparator(TypeDecorator.Comparator[datetime]):
        def utc(self) -> ColumnElement[datetime]:
            """The column as ``timestamp with time zone``, for use anywhere in an expression."""
            return type_coerce(func.timezone(_ZONE, self.expr), DateTime(timezone=True))

        def operate(self, op: Any, *other: Any, **kwargs: Any) -> Any:
            # What is added can only be an interval, whatever SQLAlchemy knows of its type.
            operands = other if op is operators.add else [_in_utc(value) for value in other]
            return self._typed(op, other, super().operate(op, *operands, **kwargs))

        def reverse_operate(self, op: Any, other: Any, **kwargs: Any) -> Any:
            operand = other if op is operators.add else _in_utc(other)
            return self._typed(op, (other,), super().reverse_operate(op, operand, **kwargs))

        def _typed(self, op: Any, other: tuple[Any, ...], result: Any) -> Any:
            if op is operators.add or (op is operators.sub and _is_interval(other[0])):
                return type_coerce(result, UTCDateTime())
            return type_coerce(result, Interval()) if op is operators.sub else result

    # The base class builds its factory from the implementation's; this one replaces it.
    comparator_factory = Comparator  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:
        return Interval() if isinstance(value, timedelta) else self

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else naive_utc(value)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


def _is_interval(value: Any) -> bool:
    kind: object = getattr(_clause(value), "type", None)
    return isinstance(value, timedelta) or isinstance(kind, Interval | postgresql.INTERVAL)


def _clause(value: Any) -> Any:
    return value.__clause_element__() if hasattr(value, "__clause_element__") else value


def _in_utc(value: Any) -> Any:
    """`value` as an operand that can stand beside a ``timestamp`` column holding UTC."""
    clause: Any = _clause(value)
    if _is_collection(clause):
        return [_in_utc(item) for item in clause]
    if isinstance(clause, datetime):
        naive_utc(clause)  # refused here, where the traceback shows who compares, not when it is executed
        return clause
    if isinstance(clause, SelectBase):
        return _select_in_utc(clause)
    if not _is_operand(clause) or isinstance(clause.type, UTCDateTime) or _is_interval(clause):
        return clause
    return type_coerce(clause, UTCDateTime()) if isinstance(clause, BindParameter) else _to_utc(clause)


def _is_collection(value: object) -> TypeGuard[Collection[Any]]:
    return isinstance(value, list | tuple | set | frozenset)


def _is_operand(value: object) -> TypeGuard[ColumnElement[Any]]:
    return isinstance(value, ColumnElement) and not isinstance(value, Null | CollectionAggregate)


def _select_in_utc(given: SelectBase) -> SelectBase:
    column: ColumnElement[Any] = given.selected_columns[0]
    if isinstance(column.type, UTCDateTime):
        return given
    if isinstance(given, Select):  # in place, so that it may still refer to the query around it
        return given.with_only_columns(_to_utc(column), maintain_column_froms=True)
    return select(_to_utc(given.subquery().c[0]))


def _to_utc(clause: ColumnElement[Any]) -> ColumnElement[datetime]:
    # The cast costs nothing for a timestamptz and gives a local timestamp (LOCALTIMESTAMP) its zone.
    return type_coerce(func.timezone(_ZONE, cast(clause, DateTime(timezone=True))), UTCDateTime())


if TYPE_CHECKING:
    # pyright takes the docstring that every class has for an override of the base's attribute.
    class UTCAttribute(InstrumentedAttribute[T]):  # pyright: ignore[reportIncompatibleVariableOverride]
        def utc(self) -> ColumnElement[datetime]: ...

    class UTCMapped(Mapped[T]):
        """What ``Mapped`` is to other columns, with :meth:`UTCDateTime.Comparator.utc` known to type checkers."""

        @overload
        def __get__(self, instance: None, owner: Any) -> UTCAttribute[T]: ...
        @overload
        def __get__(self, instance: object, owner: Any) -> T: ...
        def __get__(self, instance: object | None, owner: Any) -> UTCAttribute[T] | T: ...

else:

    class UTCMapped(Mapped[T]):
        """What ``Mapped`` is to other columns, with :meth:`UTCDateTime.Comparator.utc` known to type checkers."""


class Unset(enum.Enum):
    """The type of :data:`UNSET`."""

    UNSET = "unset"

    def __repr__(self) -> str:
        return "(unset)"


UNSET = Unset.UNSET
"""Stands for an argument that was not given, where None has a meaning."""
