"""Column types of the Oban tables, and the states of a job.

Oban keeps its times in ``timestamp without time zone`` columns that hold UTC. Comparing such a column with ``now()``
in SQL silently converts by the *session's* time zone, and binding an aware datetime is refused by asyncpg. The type
:class:`UTCDateTime` makes every promised form right: it converts the other operand and leaves the column bare, so that
an index on it stays usable.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar, overload

from sqlalchemy import DateTime, Dialect, Interval, Text, TypeDecorator, cast, func, literal_column, select, type_coerce
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import InstrumentedAttribute, Mapped
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import ClauseElement, ColumnElement, Null
from sqlalchemy.sql.selectable import Select
from sqlalchemy.types import TypeEngine

T = TypeVar("T")

_ZONE: ColumnElement[str] = literal_column("'UTC'")


class JobState(enum.StrEnum):
    """Where a job is in its life. The names and their order are Oban's."""

    AVAILABLE = "available"
    SCHEDULED = "scheduled"
    SUSPENDED = "suspended"
    EXECUTING = "executing"
    RETRYABLE = "retryable"
    COMPLETED = "completed"
    DISCARDED = "discarded"
    CANCELLED = "cancelled"

    @property
    def is_finished(self) -> bool:
        """Whether a job in this state will not run again unless somebody asks for it."""
        return self in FINISHED


FINISHED = frozenset({JobState.COMPLETED, JobState.DISCARDED, JobState.CANCELLED})

state_enum = postgresql.ENUM(*(state.value for state in JobState), name="oban_job_state", create_type=False)


class JobStateType(TypeDecorator[JobState]):
    """``oban_job_state``. A state that a future version adds loads as a plain string instead of raising."""

    impl = state_enum
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return state_enum  # the one object whose schema `use_schema` sets

    def process_bind_param(self, value: JobState | str | None, dialect: Dialect) -> str | None:
        return None if value is None else str(value)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        known: dict[str, JobState] = {state.value: state for state in JobState}
        return lambda value: known.get(value, value)


class WorkerName(TypeDecorator[str]):
    """A worker's name. Takes the worker itself too: ``Job.worker == send_welcome``."""

    impl = Text
    cache_ok = True

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:
        return (
            self
            if isinstance(value, str) or hasattr(value, "worker_name")
            else super().coerce_compared_value(op, value)
        )

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return getattr(value, "worker_name", value)

    process_literal_param = process_bind_param


def naive_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError(
            f"naive datetime {value.isoformat()}: times of jobs are instants; "
            "give an aware datetime, such as datetime.now(timezone.utc)"
        )
    return value.astimezone(UTC).replace(tzinfo=None)


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
            result = super().operate(op, *(_in_utc(value) for value in other), **kwargs)
            return self._typed(op, other, result)

        def reverse_operate(self, op: Any, other: Any, **kwargs: Any) -> Any:
            result = super().reverse_operate(op, _in_utc(other), **kwargs)
            return self._typed(op, (other,), result)

        def _typed(self, op: Any, other: tuple[Any, ...], result: Any) -> Any:
            if op not in (operators.add, operators.sub):
                return result
            return type_coerce(result, UTCDateTime() if _is_interval(other[0]) else Interval())

    # The base class builds its factory from the implementation's; this one replaces it.
    comparator_factory = Comparator  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:
        return Interval() if isinstance(value, timedelta) else self

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if not isinstance(value, datetime):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"expected an aware datetime, got {value!r}")
        return naive_utc(value)

    def process_literal_param(self, value: datetime | None, dialect: Dialect) -> str:
        return "NULL" if value is None else f"'{naive_utc(value).isoformat(' ')}'"

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


def _is_interval(value: Any) -> bool:
    return isinstance(value, timedelta) or (isinstance(value, ClauseElement) and _type_of(value) is Interval)


def _type_of(element: Any) -> type[Any]:
    kind = getattr(element, "type", None)
    if isinstance(kind, UTCDateTime):
        return UTCDateTime
    return Interval if isinstance(kind, Interval | postgresql.INTERVAL) else type(kind)


def _in_utc(value: Any) -> Any:
    """`value` as an operand that can stand beside a ``timestamp`` column holding UTC."""
    clause = value.__clause_element__() if hasattr(value, "__clause_element__") else value
    if isinstance(clause, list | tuple):
        return [_in_utc(item) for item in clause]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(clause, Select):
        column = clause.selected_columns[0]
        if _type_of(column) is UTCDateTime:
            return clause
        inner = clause.subquery()
        return select(_to_utc(inner.c[0]))
    if not isinstance(clause, ColumnElement) or isinstance(clause, Null):
        return value
    if _type_of(clause) in (UTCDateTime, Interval) or getattr(clause, "value", None) is not None:
        return clause
    return _to_utc(clause)


def _to_utc(clause: ColumnElement[Any]) -> ColumnElement[datetime]:
    # The cast costs nothing for a timestamptz and gives a local timestamp (LOCALTIMESTAMP) its zone.
    return type_coerce(func.timezone(_ZONE, cast(clause, DateTime(timezone=True))), UTCDateTime())


if TYPE_CHECKING:

    class UTCAttribute(InstrumentedAttribute[T]):
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
