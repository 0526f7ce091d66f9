"""The sizes of the tables."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from ..models.job import jobs
from ..statements.glance import TABLES
from ..statements.identify import schema_of


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a table.

    :ivar name: of the table.
    :ivar rows: how many rows it had when it was last analysed; None when it never was.
    :ivar table: bytes of the table, with the values that are stored apart.
    :ivar indexes: bytes of its indexes.
    :ivar dead: dead rows, by the statistics of the server.
    """

    name: str
    rows: int | None
    table: int
    indexes: int
    dead: int


def read(connection: Connection) -> list[Size]:
    """The sizes of the tables of this package, the largest first."""
    rows = connection.execute(TABLES, {"jobs": jobs_name(connection)})
    return [
        Size(row.name, None if row.rows < 0 else round(row.rows), row.table, row.indexes, row.dead or 0) for row in rows
    ]


def jobs_name(connection: Connection) -> str:
    """The name of the jobs table, quoted, and with its schema when that is known."""
    schema = schema_of(connection)
    quote = connection.dialect.identifier_preparer.quote
    return quote(jobs.name) if schema is None else f"{quote(schema)}.{quote(jobs.name)}"
