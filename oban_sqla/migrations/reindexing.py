"""Rebuilding indexes of the jobs table that have become far larger than what is in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ..errors import SchemaOutdated
from ..options.engine import check_engine
from .live import TIMEOUTS
from .outside import alone, outside
from .sizes import SIZES, Size
from .statements import as_text, plain, prefix_of

_INDEXES = text(r"""
    SELECT c.relname AS name, i.indisvalid AND i.indisready AS is_valid, c.relname ~ '_cc(new|old)\d*$' AS is_copy,
           EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index p WHERE p.relid = i.indrelid) AS under_way
    FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid = to_regclass(:jobs)
    ORDER BY c.relname
""")
_BYTES = text("SELECT pg_relation_size(to_regclass(:index))")


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """An index that :func:`reindex` has rebuilt.

    :ivar name: its name.
    :ivar before: its size in bytes before.
    :ivar after: its size in bytes now.
    """

    name: str
    before: int
    after: int


async def reindex(engine: AsyncEngine, schema: str | None = None, *, every: bool = False) -> list[Rebuilt]:
    """Rebuild the indexes of the jobs table that are far larger than they need to be, for a cron job or a script.

    A queue that was once long leaves large indexes behind: their pages are used again, but until then they are read,
    cached and backed up. Those with more than 64 MB of empty space that are four times as large as their content are
    rebuilt, and those that are invalid; what an interrupted call has left behind is dropped. It works CONCURRENTLY: no
    insert, fetch or ack waits for it, and it waits for the transactions that are open. One call at a time works on a
    database. (The idea is that of Oban's Reindexer.)

    :param engine: an engine whose role owns the tables. Two of its connections are used at the same time.
    :param schema: the schema of the tables. Default: the one given to :func:`oban_sqla.use_schema`, or else the
        connection's default.
    :param every: True: rebuild all indexes of the table, whatever their size. Default False.
    :returns: the indexes that were rebuilt, by name. None is without statistics of the table, which ANALYZE makes.
    :raises InvalidOption: for something else than an ``AsyncEngine``.
    :raises SchemaOutdated: when there are no tables.
    """
    check_engine(engine, "reindex")
    prefix = prefix_of(schema)
    async with alone(engine), outside(engine) as connection:
        await _run(connection, *(f"SET {name} = 0" for name in TIMEOUTS))
        found = (await connection.execute(_INDEXES, {"jobs": f"{prefix}oban_jobs"})).all()
        if not found:
            where = "" if schema is None else f" in the schema {schema!r}"
            raise SchemaOutdated(f"no oban_sqla tables found{where}; create them first: oban-sqla migrate")
        left = [plain(row.name) for row in found if row.is_copy and not row.is_valid and not row.under_way]
        await _run(connection, *(f"DROP INDEX CONCURRENTLY IF EXISTS {prefix}{name}" for name in left))
        valid = {row.name: row.is_valid for row in found if not row.is_copy}
        sizes = (await connection.execute(SIZES, {"jobs": f"{prefix}oban_jobs"})).all()
        chosen = [row for row in sizes if row.name in valid and (every or not valid[row.name] or _is_swollen(row))]
        rebuilt = [await _rebuilt(connection, prefix, row.name, row.bytes) for row in chosen]
        await _run(connection, *(f"RESET {name}" for name in TIMEOUTS))
    return rebuilt


def _is_swollen(row: Any) -> bool:
    size = Size.of(row)
    return size is not None and size.is_swollen


async def _rebuilt(connection: AsyncConnection, prefix: str, name: str, before: int) -> Rebuilt:
    index = f"{prefix}{plain(name)}"
    await _run(connection, f"REINDEX INDEX CONCURRENTLY {index}")
    return Rebuilt(name, before, await connection.scalar(_BYTES, {"index": index}) or 0)


async def _run(connection: AsyncConnection, *statements: str) -> None:
    for statement in statements:
        await connection.execute(as_text(statement))
