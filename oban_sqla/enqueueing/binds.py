"""On which engine a session has the tables of a query, and takes it where it writes.

Sessions that read from replicas decide by the statement. What belongs to a job is read where the job was committed: a
replica may not have it yet.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, cast

from sqlalchemy import CompoundSelect, Connection, Engine, Select, Table, inspect, update
from sqlalchemy.orm import Session
from sqlalchemy.sql.selectable import SelectStatementGrouping

from ..models import Job
from ..models.job import jobs

# Sessions that route reads to replicas decide by the statement; asked without one they may take this for a read.
FOR_WRITING: dict[str, Any] = {"mapper": inspect(Job), "clause": update(jobs)}
"""With which a session is asked for the connection on which it writes jobs."""


def bindings(query: Any) -> Iterator[dict[str, Any]]:
    """What to ask the session with, for each table of `query`: where it writes that.

    :param query: a select, or a union of selects.
    """
    for part in (query, *parts_of(query)):
        if not isinstance(part, Select):
            continue
        columns: list[Any] = [*part.column_descriptions]
        for described in columns:
            if (entity := described.get("entity")) is not None:
                mapper: Any = inspect(entity).mapper
                if _is_table(mapper.local_table):
                    yield {"mapper": mapper, "clause": update(mapper.local_table)}
        tables: list[Any] = [*part.get_final_froms()]
        yield from ({"clause": update(table)} for table in tables if _is_table(table))


def parts_of(query: Any) -> Iterator[Any]:
    """The selects of a union, and the unions in it with their selects; nothing for a select."""
    if isinstance(query, CompoundSelect):
        parts: list[Any] = [*query.selects]
        for part in parts:
            # A select with a limit or an order is in parentheses.
            inner: Any = cast(Any, part).element if isinstance(part, SelectStatementGrouping) else part
            yield inner
            yield from parts_of(inner)


@contextmanager
def reading_where_it_writes(session: Session, bind: Engine | Connection | None = None) -> Generator[None]:
    """Let `session` send its queries where it writes the tables of their classes.

    :param bind: where it sends all of them. Default: it is asked for each.
    """
    ask, before = session.get_bind, vars(session).get("get_bind")

    def written(mapper: Any = None, *, clause: Any = None, **more: Any) -> Engine | Connection:
        if bind is not None:
            return bind
        table: Any = None if mapper is None else inspect(mapper).local_table
        return ask(mapper, clause=update(table) if _is_table(table) else clause, **more)

    # The arguments that `execute` takes for it are those of the query again when a listener has seen them.
    vars(session)["get_bind"] = written
    try:
        yield
    finally:
        if before is None:
            del vars(session)["get_bind"]
        else:
            vars(session)["get_bind"] = before


def bind_to(connection: Connection, session: Session) -> None:
    """Let `session` use `connection` for all that it writes on its engine, although its class decides where that is.

    Such a class does not ask for the `bind` that the session was made with.
    """
    if type(session).get_bind is Session.get_bind:
        return
    ask = session.get_bind

    def bound(mapper: Any = None, *, clause: Any = None, **more: Any) -> Engine | Connection:
        table: Any = None if mapper is None else inspect(mapper).local_table
        if not _is_table(table):
            return connection
        written = ask(mapper, clause=update(table), **more)
        return connection if written.engine.pool is connection.engine.pool else written

    vars(session)["get_bind"] = bound


def _is_table(given: object) -> bool:
    return isinstance(given, Table)


def shown(bind: Engine | Connection) -> str:
    """The URL of a bind, without its password."""
    return bind.engine.url.render_as_string(hide_password=True)
