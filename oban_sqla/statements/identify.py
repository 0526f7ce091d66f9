"""Which database and schema a connection leads to."""

from __future__ import annotations

from sqlalchemy import Connection, Engine, Executable, select, text

from ..models.job import jobs
from .statement import SchemaMap, statement

Identity = tuple[str, str]
"""Which server and database this is; see :data:`identify`."""


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
