"""What a statement is: built once from the tables, compiled once for a dialect, executed with parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Connection,
    CursorResult,
    Executable,
    Interval,
    Text,
    bindparam,
    cast,
    func,
    literal_column,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.selectable import Select
from sqlalchemy.types import TypeEngine

from ..models.base import metadata

SchemaMap = Mapping[str | None, str | None]


class Statement:
    """A constant statement; use :func:`statement` to make one.

    It is built when it is first asked for, so that `use_schema` may come before.
    """

    def __init__(self, build: Callable[[], Executable]) -> None:
        self._build = build
        # Written when they are first asked for, by core() and compiled().
        self._core: Executable | None = None
        self._compiled: dict[tuple[object, ...], Compiled] = {}
        self.name = build.__name__
        self.module = build.__module__
        self.__doc__ = build.__doc__

    @property
    def core(self) -> Executable:
        """The statement for SQLAlchemy's own execution, with named parameters."""
        if self._core is None:
            self._core = self._build()
        return self._core

    def compiled(self, dialect: Dialect, schemas: SchemaMap | None = None) -> Compiled:
        """The statement as text for a driver that takes ``$1``; kept for the process, because it costs milliseconds.

        :param dialect: of what it has only its class, its parameters' style and its limits of names make a difference.
        :param schemas: as `schema_translate_map` takes them.
        """
        limits = (dialect.paramstyle, dialect.label_length, dialect.max_identifier_length)
        key = (type(dialect), *limits, metadata.schema, *sorted((schemas or {}).items(), key=str))
        if (compiled := self._compiled.get(key)) is None:
            compiled = self._compiled[key] = self._compile(dialect, schemas)
        return compiled

    def _compile(self, dialect: Dialect, schemas: SchemaMap | None) -> Compiled:
        core: Any = self.core
        made = core.compile(dialect=dialect, schema_translate_map=schemas, render_schema_translate=bool(schemas))
        assert isinstance(made, SQLCompiler)
        constants = {name: bind.effective_value for name, bind in made.binds.items() if not bind.required}
        names = (name if name in constants else name.removeprefix(_PREFIX) for name in made.positiontup or ())
        return Compiled(str(made), tuple(names), constants)

    def execute(self, connection: Connection, /, **given: Any) -> CursorResult[Any]:
        """Execute through SQLAlchemy, in whatever transaction `connection` is in."""
        return connection.execute(self.core, {_PREFIX + name: value for name, value in given.items()})

    def __repr__(self) -> str:
        return f"<statement {self.name}>"


@dataclass(frozen=True, slots=True)
class Compiled:
    """A statement as text, with the order of its parameters."""

    sql: str
    parameters: tuple[str, ...]
    constants: Mapping[str, Any]

    def values(self, given: Mapping[str, Any]) -> list[Any]:
        """The `given` parameters, and the statement's own constants, in order."""
        constants = self.constants
        return [constants[name] if name in constants else given[name] for name in self.parameters]


def statement(build: Callable[[], Executable]) -> Statement:
    """Make the function that builds a statement into the :class:`Statement`."""
    return Statement(build)


# A parameter named like a column would be taken for a value to SET.
_PREFIX = "in_"


def parameter(name: str, of: type[TypeEngine[Any]] | TypeEngine[Any] = Text) -> BindParameter[Any]:
    """A parameter; callers know it as `name`."""
    return bindparam(_PREFIX + name, type_=of)


def array(name: str, of: type[TypeEngine[Any]] | TypeEngine[Any] = Text) -> BindParameter[Any]:
    """A parameter that is an array."""
    return bindparam(_PREFIX + name, type_=ARRAY(of))


def whole_numbers(name: str) -> ColumnElement[Any]:
    """A parameter that is an array of whole numbers, given as text.

    asyncpg asks the server what an array of numbers is, on each new connection, which takes as long as connecting.
    """
    return cast(array(name), ARRAY(BigInteger))


def not_refused(job_id: ColumnElement[int]) -> ColumnElement[bool]:
    """Whether the job is none of `refused`, as a :class:`Bulk` is told of them."""
    return job_id != func.all(whole_numbers("refused"))


def state(value: str) -> ColumnElement[Any]:
    """A state as a literal. A parameter would hide the partial indexes from a generic plan."""
    return literal_column(f"'{value}'")


def in_states(column: ColumnElement[Any], *names: str) -> ColumnElement[bool]:
    """Whether `column`, the state of a job, is one of `names`; as literals, see :func:`state`."""
    return column.in_([state(name) for name in names])


def is_open(column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether a job has not finished, by `column`, its state: as a range of the indexes that end with the state."""
    return column <= state("retryable")


def ids(inner: Select[Any]) -> ColumnElement[Any]:
    """The ids that `inner` selects, as an array to compare with ``= ANY``.

    Addressing rows like this can never become a join, so no hash join over the whole table either.
    """
    return func.array(inner.correlate(None).scalar_subquery(), type_=ARRAY(BigInteger))


def seconds_from(value: ColumnElement[Any]) -> ColumnElement[Any]:
    """A number of seconds as an interval."""
    return type_coerce(value * literal_column("interval '1 second'"), Interval())


__all__ = [
    "Compiled",
    "SchemaMap",
    "Statement",
    "array",
    "ids",
    "in_states",
    "not_refused",
    "parameter",
    "seconds_from",
    "state",
    "statement",
    "whole_numbers",
]
