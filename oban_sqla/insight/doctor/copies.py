"""Copies of a database: whether another one writes the tables, and whether they were restored with their sequences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...models import metadata
from ...statements import catalog
from ...statements.subscriptions import subscriptions
from ..words import listed
from .database import Database
from .finding import Finding, ok, problem

NEAR = 1_000_000
"""How many of the next ids of a sequence are checked."""


def replication(database: Database) -> Iterator[Finding]:
    """Whether a subscription writes the jobs, as a copy of another database."""
    if names := [str(name) for name in subscriptions.execute(database.connection).scalars()]:
        yield problem(
            f"the jobs table is a copy of another database's: it is written by the subscription {listed(names)}",
            "a node here runs each job that waits there, too, and its changes are not known there",
            "connect nodes and programs to the publisher; or, after a switch to this database, "
            f"ALTER SUBSCRIPTION {names[0]} DISABLE",
        )
    else:
        yield ok("no subscription writes the jobs table")


def sequences(database: Database) -> Iterator[Finding]:
    """Whether the next ids are free."""
    found = [(row, taken) for row in _sequences(database) if (taken := _taken(database, row)) is not None]
    # The sequences are read again: a program may just have got the id, and inserted the row that was found.
    last = {row.sequence: row.last for row in _sequences(database)} if found else {}
    findings = [
        problem(
            f"{row.sequence} was at {row.last}, and {row.table} has a row {taken} already",
            "each INSERT that gets the id of a row fails; a restored or replicated table comes without its sequence",
            f"SELECT setval('{row.sequence}', (SELECT max({row.column}) FROM {row.table}))",
        )
        for row, taken in found
        if last.get(row.sequence, taken) < taken
    ]
    yield from findings or [ok("the next ids are free")]


def _sequences(database: Database) -> list[Any]:
    """The sequences whose value this role may read."""
    names = [table.name for table in metadata.tables.values()]
    return [row for row in database.rows(catalog.SEQUENCES, tables=names) if row.last is not None]


def _taken(database: Database, row: Any) -> int | None:
    """The first of the next ids of the sequence that a row has already; None when they are free."""
    [(taken,)] = database.rows(catalog.next_taken(row.table, row.column), last=row.last, most=row.last + NEAR)
    return None if taken is None else int(taken)
