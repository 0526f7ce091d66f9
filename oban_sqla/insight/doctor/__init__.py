"""What is wrong with a database of jobs, or soon will be: one function per check, each independent of the others.

The checks only read, in one transaction. No statement takes longer than five seconds, waits longer than one second for
a lock, or reads a large table from end to end. A check that lacks a privilege or takes too long is skipped.

Belongs here: checks of the database and of the cluster as a whole. Does not: questions about one job (see
`insight.why`), and repairs: a finding says what to run, and a person runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from ...errors import DatabaseUnavailable
from ...options.engine import check_engine
from ...options.heartbeat import Heartbeat
from ...runtime.lanes.failure import StatementFailed
from ...runtime.lanes.pooler import behind_transaction_pooler
from ...runtime.lanes.settings import READ_COMMITTED
from ...statements.catalog import READ_ONLY
from ...statements.version import schemas_with_tables
from ...statements.why import bounds
from ...telemetry.database_error import without_class
from .backlog import backlog, large_jobs, overdue, unknown_workers
from .cluster import dead_nodes, foreign_leader, leader, living_nodes, orphans
from .copies import replication, sequences
from .database import Database
from .encryption import encryption
from .finding import Finding, Status, problem, skipped
from .flows import workflows
from .groups import groups
from .limits import limits, suspensions
from .relationships import relationships
from .server import clock, connections, encoding, isolation, notifications, pooler, server_version, standby, timeouts
from .storage import bloat, oldest_transaction, vacuum
from .tables import indexes, privileges, schema_version, states, table_settings, triggers

Check = Callable[[Database], Iterator[Finding]]

OF_THE_SERVER: tuple[Check, ...] = (
    server_version, encoding, standby, pooler, clock, connections, timeouts, isolation, notifications,
    oldest_transaction,
)  # fmt: skip
OF_THE_TABLES: tuple[Check, ...] = (
    schema_version, indexes, relationships, triggers, states, table_settings, privileges, replication, sequences,
    vacuum, bloat,
    living_nodes, leader, foreign_leader, dead_nodes, orphans, limits, suspensions,
    backlog, overdue, unknown_workers, encryption, workflows, groups, large_jobs,
)  # fmt: skip

PATIENCE = 5_000
"""Milliseconds that a statement may take."""


async def examine(engine: AsyncEngine, heartbeat: Heartbeat | None = None) -> list[Finding]:
    """Run the checks of ``oban-sqla doctor``: ``findings = await examine(engine)``.

    It only reads, in one transaction, and never a large table from end to end. No statement takes longer than five
    seconds, or waits longer than one second for a lock.

    :param engine: an engine on the database; its role is the one that is examined.
    :param heartbeat: the :class:`Heartbeat` of the nodes, for nodes that don't publish theirs. Default:
        ``Heartbeat()``.
    :returns: at least one :class:`Finding` per check, in the order of the checks.
    :raises InvalidOption: for something else than an ``AsyncEngine``.
    :raises sqlalchemy.exc.DBAPIError: if the connection is lost.
    """
    check_engine(engine, "examine")
    pooled = await _pooled(engine)
    async with engine.execution_options(**READ_COMMITTED).connect() as connection:
        try:
            return await connection.run_sync(_examine, pooled, heartbeat or Heartbeat())
        finally:
            await connection.rollback()


async def _pooled(engine: AsyncEngine) -> bool | str:
    try:
        return await behind_transaction_pooler(engine)
    except (StatementFailed, DatabaseUnavailable) as error:
        return f"could not find out whether connections go through a transaction pooler: {error}"


def _examine(connection: Connection, pooled: bool | str, heartbeat: Heartbeat) -> list[Finding]:
    connection.execute(READ_ONLY)
    bounds.execute(connection, limit=str(PATIENCE))
    database = Database(connection, pooled, heartbeat)
    findings = [finding for check in OF_THE_SERVER for finding in _findings(check, database)]
    if database.server.jobs is None:
        others = ", ".join(map(repr, schemas_with_tables.execute(connection).scalars()))
        missing = problem(
            f"no oban_sqla tables found: there is no {database.jobs}"
            + (f", but in the schema {others}" if others else ""),
            "no job can be enqueued or run",
            "name that schema: use_schema(…), or --schema of the commands; or have it in the search path, if they were "
            "created without its name"
            if others
            else "run oban-sqla migrate, or oban_sqla.migrations.upgrade(op) in an Alembic revision; or check the "
            "database URL",
        )
        return [*findings, replace(missing, check="schema_version")]
    return [*findings, *(finding for check in OF_THE_TABLES for finding in _findings(check, database))]


def _findings(check: Check, database: Database) -> list[Finding]:
    """What a check finds. A check that fails is rolled back to a savepoint, so that the others go on."""
    try:
        with database.connection.begin_nested():
            findings = list(check(database))
    except SQLAlchemyError as error:
        if database.connection.invalidated:
            raise
        findings = [skipped(_reason(error))]
    return [replace(finding, check=check.__name__) for finding in findings]


def _reason(error: SQLAlchemyError) -> str:
    text = str(getattr(error, "orig", None) or error)
    return " ".join(without_class(text).split())


__all__ = ["Finding", "Status", "examine"]
