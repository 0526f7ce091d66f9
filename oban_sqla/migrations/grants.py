"""The privileges that a role needs, and no others, as SQL."""

from __future__ import annotations

from sqlalchemy import Table

from ..errors import InvalidOption
from ..models import SchemaVersion
from ..models.base import metadata
from ..models.job import jobs
from .statements import quoted

_EVERY = ("SELECT", "INSERT", "UPDATE", "DELETE")
_READ = ("SELECT",)


def grants(role: str, schema: str | None = None, *, enqueue_only: bool = False) -> list[str]:
    """The statements that give `role` the privileges of a node, or of a program that only enqueues.

    :param role: the role; it must exist.
    :param schema: where the tables are. Default: the first of the search path.
    :param enqueue_only: leave out what only a node needs. Default False.
    :raises InvalidOption: for a blank name.
    """
    if not role.strip():
        raise InvalidOption("the name of the role is blank")
    to = f"TO {quoted(role)}"
    found = [] if schema is None else [f"GRANT USAGE ON SCHEMA {quoted(schema)} {to}"]
    for table in metadata.sorted_tables:
        if kinds := _to_enqueue(table) if enqueue_only else _of_a_node(table):
            name = quoted(table.name) if schema is None else f"{quoted(schema)}.{quoted(table.name)}"
            found.append(f"GRANT {', '.join(kinds)} ON {name} {to}")
    return found


def _of_a_node(table: Table) -> tuple[str, ...]:
    return _READ if table is SchemaVersion.__table__ else _EVERY


def _to_enqueue(table: Table) -> tuple[str, ...]:
    if table is jobs:
        return ("SELECT", "INSERT")  # reads the id, and the unique job that was there before
    # Jobs that are added to one later lock its row, for which PostgreSQL asks for UPDATE of any column.
    if table.name == "oban_workflows":
        return ("SELECT", "INSERT", "UPDATE (name)")
    if table.name == "oban_batches":
        return ("SELECT", "INSERT", "UPDATE (callbacks)")  # which are written when the batch has its id
    if table.name in ("oban_signals", "oban_deps", "oban_news"):
        return ("SELECT", "INSERT")  # a signal is sent by the program that people use, and a workflow added
    # The program that people use shows them what a job tells.
    return _READ if table.name in ("oban_partitions", "oban_schema", "oban_progress", "oban_events") else ()
