"""The workflows that don't go on: a failed or deleted job holds them, or no node works on them."""

from __future__ import annotations

from collections.abc import Iterator

from ...statements.flows import flow_troubles
from ..words import counted
from .database import Database
from .finding import Finding, ok, warning

MOST = 1_000
"""Dependencies that are counted of each kind."""

MANY_NEWS = 100_000
"""Changes of jobs on which nothing has acted yet."""


def workflows(database: Database) -> Iterator[Finding]:
    """Workflows that wait for a retry, use the result of a deleted job, or are not worked on."""
    found = flow_troubles.execute(database.connection, most=MOST, news=MANY_NEWS).one()
    if found.failed:
        yield warning(
            f"jobs of workflows that wait for a failed one to be retried: {counted(found.failed, MOST)}",
            'they were added with on_failure="wait"',
            "oban-sqla flows list, then oban-sqla flows retry ID, or cancel ID",
        )
    if found.lost:
        yield warning(
            f"jobs of workflows that wait for the result of a deleted job: {counted(found.lost, MOST)}",
            "they are cancelled, or get None where on_failure is ignore",
            "delete whole workflows instead: await oban.delete(flow)",
        )
    if found.news >= MANY_NEWS:
        yield warning(
            f"changes of jobs in workflows, batches and chains on which no node has acted: {found.news:,} or more",
            "no node runs, or a transaction holds the rows of a workflow",
            "start a node; or find the transaction: SELECT pid, state, xact_start FROM pg_stat_activity",
        )
    if not (found.failed or found.lost or found.news >= MANY_NEWS):
        yield ok(f"workflows under way: {counted(found.running, MOST)}")
