"""The one MetaData of the package, and where its tables live."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import MetaData, TextClause, func, literal_column, text, type_coerce
from sqlalchemy.orm import DeclarativeBase, mapped_column
from sqlalchemy.sql.elements import ColumnElement

from ..errors import InvalidOption
from ..types import UTCDateTime, UTCMapped, state_enum
from ._sqlalchemy import list_anew

metadata = MetaData()

NOW = text("timezone('UTC'::text, now())")
"""The transaction's time as the default of a column."""


class ObanBase(DeclarativeBase):
    """Base of the mapped classes of this package. Its MetaData is separate from the application's."""

    metadata = metadata


def utc_now() -> ColumnElement[Any]:
    """The transaction's time as Oban's columns hold it, by the database's clock."""
    # Typed, or a comparison with a column of ours would convert it a second time, by the session's time zone.
    return type_coerce(func.timezone(literal_column("'UTC'"), func.now()), UTCDateTime())


def utc_column(
    server_default: TextClause | None = None, info: dict[str, Any] | None = None, *, primary_key: bool = False
) -> UTCMapped[Any]:
    """A ``timestamp`` that holds UTC, aware in Python; its type says whether it may be null."""
    column = mapped_column(UTCDateTime, server_default=server_default, info=info, primary_key=primary_key)
    return cast(UTCMapped[Any], column)


_chosen: str | None = None

LONGEST_SCHEMA = 63
"""Bytes of an identifier, as PostgreSQL is built."""


def checked_schema(schema: object, what: str) -> str:
    """`schema`, if it is a name that every driver, template and statement takes as it is.

    :param what: who asks, for the error.
    :raises InvalidOption: for a name that is blank or too long, and for one with quotes, braces, % or control
        characters.
    """
    if not isinstance(schema, str) or not schema.strip():
        raise InvalidOption(f"{what}: expected the name of a schema, got {schema!r}")
    if set(schema) & set("\"'{}%") or not schema.isprintable():
        raise InvalidOption(
            f"{what}: expected the name of a schema without quotes, braces, % and control characters, got {schema!r}"
        )
    if len(schema.encode()) > LONGEST_SCHEMA:
        raise InvalidOption(
            f"{what}: the name of a schema has at most {LONGEST_SCHEMA} bytes, PostgreSQL cuts longer ones; got "
            f"{len(schema.encode())}: {schema!r}"
        )
    return schema


def use_schema(schema: str) -> None:
    """Set the PostgreSQL schema of the tables. Call it once, before the first statement.

    It applies to all queries, sessions, migrations and nodes of this process. An engine's ``schema_translate_map``
    overrides it.

    :param schema: the name of the schema, such as ``"jobs"``. The migration creates it.
    :raises InvalidOption: if the name is blank, or has quotes, braces, % or control characters; or if another schema
        was set before.
    """
    global _chosen
    checked_schema(schema, "use_schema")
    if _chosen is not None and schema != _chosen:
        raise InvalidOption(
            f"use_schema({schema!r}): this process already uses {_chosen!r}; statements may have been built for it. "
            "Call use_schema once, where your models are imported"
        )
    _chosen = schema
    if metadata.schema == schema:
        return
    tables = list(metadata.tables.values())
    metadata.schema = schema
    state_enum.schema = schema
    for table in tables:
        table.schema = schema
        table.fullname = f"{schema}.{table.name}"
    list_anew(metadata, tables)
