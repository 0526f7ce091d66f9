"""How the insertion sends what a spec brings: the parameters of its statements, derived from the columns of a job."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Dialect, Integer, LargeBinary, Text, TypeDecorator
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP
from sqlalchemy.types import TypeEngine

from ..models.columns import Option, options_of
from ..models.job import jobs
from ..types import UTCDateTime, WorkerName, naive_utc


@dataclass(frozen=True, slots=True)
class Sent:
    """A parameter of the insertion.

    :param name: as the statement calls it.
    :param type: in which it is sent.
    :param prepare: makes of the value that a spec keeps the one that is sent; None where they are the same.
    """

    name: str
    type: TypeEngine[Any]
    prepare: Callable[[Any], Any] | None = None


class UniqueKey(TypeDecorator[bytes]):
    """One of an array of keys of unique jobs.

    psycopg escapes the backslash of bytes in an array where a role or database has ``standard_conforming_strings`` off,
    and the server would find other bytes; so psycopg gets the text of them.
    """

    impl = LargeBinary
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Any:
        return _as_bytea if dialect.driver == "psycopg" else super().bind_processor(dialect)


def _as_bytea(value: bytes | None) -> str | None:
    return None if value is None else f"\\x{value.hex()}"


def _for_column(name: str, column: Column[Any]) -> Sent:
    """JSON and arrays travel as text: an array of arrays would need all of them to have one length."""
    match column.type:
        case ARRAY():
            return Sent(name, Text(), _as_array)
        case UTCDateTime():
            return Sent(name, TIMESTAMP(timezone=False), _as_utc)
        case JSONB() | WorkerName():
            return Sent(name, Text())
        case plain:
            return Sent(name, plain)


def _for_option(option: Option, column: Column[Any]) -> Sent:
    if column is jobs.c.uniq_mask:
        return Sent(column.name, column.type, _as_mask)
    if option.type is not None:
        return Sent(option.parameter, option.type)
    return _for_column(option.parameter, column)


def _as_array(texts: Sequence[str]) -> str:
    if not texts:
        return "{}"
    quoted = ('"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' for text in texts)
    return "{" + ",".join(quoted) + "}"


def _as_utc(value: datetime | None) -> datetime | None:
    return None if value is None else naive_utc(value)


def _as_mask(mask: int | None) -> int:
    return mask or 0


# What tells jobs apart is sent a row; what many have in common, once a kind. A thousand jobs of one worker differ in
# nothing but their args, and encoding nine arrays for them costs the client more than the server's insert.
ROW = (Sent("kind", Integer()), _for_column("args", jobs.c.args))
KEY = Sent("uniq_key", UniqueKey())
"""Sent once per row, where some of the jobs have one."""

KIND = (
    _for_column("worker", jobs.c.worker),
    *(_for_option(option, column) for column in jobs.c for option in options_of(column)),
)
"""What is sent once per kind, in the order of :data:`~oban_sqla.models.kind.FIELDS`."""

KIND_WITHOUT_KEYS = tuple(one for one in KIND if one.name != "uniq_mask")

UNSAID = ("meta", "tags", "at", "delay")
"""What most jobs say nothing of."""

PLACED = (
    Sent("workflow_id", BigInteger()),
    Sent("batch_id", BigInteger()),
    Sent("node_name", Text()),
    Sent("suspended", Boolean()),
)
"""Sent once per row, where some of the jobs belong to a flow or a batch; `suspended` is whether the job waits to be
released."""


def _as_fields(fields: Sequence[str] | None) -> str | None:
    return None if fields is None else _as_array(fields)


GROUPED = (
    Sent("chain", Text()),
    Sent("chain_by", Text(), _as_fields),
    Sent("chunk_by", Text(), _as_fields),
)
"""Sent once per kind, where some of the jobs are in a chain, or run in chunks: with what the key of a chain begins, and
of which fields the keys are made."""
