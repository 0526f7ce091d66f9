"""Who has to be told that jobs were committed: the runtimes of this process, by database and schema.

NOTIFY inside a transaction takes a lock on the whole database while the commit is flushed, which costs busy writers
four to seven times their throughput. Where a runtime of this process serves the same database and schema, the commit
tells it directly, and it tells the other nodes from a connection of its own. Elsewhere the transaction notifies.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterable
from typing import Protocol

from sqlalchemy import Connection, Engine, Executable, Pool, select, text

from .config import Notify
from .models.job import jobs
from .statements.statement import SchemaMap, statement

Identity = tuple[str, str]
"""Which server and database this is; see :data:`identify`."""

INSERTED, STAGED, LEADER, CRON = "insert", "stage", "leader", "cron"


class Runtime(Protocol):
    """What a started runtime offers to the sessions of its process. Both methods may be called from any thread."""

    identity: Identity

    @property
    def notify(self) -> Notify: ...

    @property
    def pool(self) -> Pool: ...

    @property
    def schema(self) -> str | None: ...

    def inserted(self, queues: Iterable[str]) -> None:
        """Jobs of these queues are available."""
        ...

    def soon(self) -> None:
        """A job will be due within seconds."""
        ...


_started: list[Runtime] = []


def serve(runtime: Runtime) -> None:
    """From now on commits wake `runtime`."""
    _started.append(runtime)


def unserve(runtime: Runtime) -> None:
    """The end of :func:`serve`."""
    if runtime in _started:
        _started.remove(runtime)


@statement
def identify() -> Executable:
    """Which server and which jobs table this connection leads to; needs no privilege, nor the table itself.

    Without `use_schema` the table is the one that the connection's own search_path finds.
    """
    # In seconds, because a timestamp would be written in the session's time zone.
    started = "extract(epoch FROM pg_catalog.pg_postmaster_start_time())::text"
    database = "(SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())::text"
    table = "coalesce(to_regclass('oban_jobs')::oid, 0)::text"
    return select(text(f"{started} AS server"), text(f"{database} || '/' || {table} AS database"))


def schema_of(where: Connection | Engine) -> str | None:
    """Where statements on a connection or engine find the tables: `use_schema`, or its own translation of that."""
    schemas: SchemaMap = where.get_execution_options().get("schema_translate_map") or {}
    return schemas.get(jobs.schema, jobs.schema)


def runtime_for(connection: Connection) -> Runtime | None:
    """The runtime of this process that serves the database and the schema of `connection`, if there is one."""
    if not _started:
        return None
    schema = schema_of(connection)
    served = [runtime for runtime in _started if runtime.schema == schema]
    for runtime in served:
        if runtime.pool is connection.engine.pool:
            return runtime
    if not served:
        return None
    identity = _identity(connection, {runtime.identity for runtime in served})
    return next((runtime for runtime in served if runtime.identity == identity), None)


_identities: weakref.WeakKeyDictionary[Engine, tuple[Identity, float]] = weakref.WeakKeyDictionary()
_REFRESH = 60.0


def _identity(connection: Connection, served: set[Identity]) -> Identity:
    known, asked = _identities.get(connection.engine, (("", ""), 0.0))
    # Another answer than the runtimes' may only be old: the server was restarted since.
    if known not in served and time.monotonic() - asked > _REFRESH:
        row = identify.execute(connection).one()
        known = (row.server, row.database)
        _identities[connection.engine] = (known, time.monotonic())
    return known


def channel(name: str, schema: str | None) -> str:
    """The NOTIFY channel `name`, apart for each schema, in the form that the whole Oban family uses."""
    return f"{schema or 'public'}.oban_{name}"
