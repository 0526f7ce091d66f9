"""The batches and the chains that don't go on."""

from __future__ import annotations

from collections.abc import Iterator

from ...statements.groups import group_troubles
from ..words import counted
from .database import Database
from .finding import Finding, ok, warning

MOST = 1_000
"""Batches or chains that are counted of each kind."""

_NODE = "start a node; the leader looks for them once a minute"


def groups(database: Database) -> Iterator[Finding]:
    """Chains that a discarded job holds, and chains and batches on which no node works."""
    found = group_troubles.execute(database.connection, most=MOST).one()
    if found.held:
        yield warning(
            f"chains held by a job that was discarded: {counted(found.held, MOST)}",
            'their worker has Chain(on_failure="hold")',
            f"oban-sqla jobs retry {found.one}, or cancel or delete it",
        )
    if found.idle:
        yield warning(
            f"chains in which jobs wait although their turn has come: {counted(found.idle, MOST)}",
            "no node has seen it: none runs, or jobs were changed with triggers switched off",
            _NODE,
        )
    if found.batches:
        yield warning(
            f"batches that have ended, and whose callbacks are not enqueued: {counted(found.batches, MOST)}",
            "no node has seen it: none runs, or jobs were changed with triggers switched off",
            _NODE,
        )
    if not (found.held or found.idle or found.batches):
        yield ok("batches and chains go on")
