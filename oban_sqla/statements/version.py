"""Which version the tables have."""

from sqlalchemy import Executable, func, select, text

from ..models.cluster import schema_versions
from .statement import statement


@statement
def tables_version() -> Executable:
    """The version of the tables; the statement fails where there are none."""
    return select(func.coalesce(func.max(schema_versions.c.version), 0))


@statement
def schemas_with_tables() -> Executable:
    """The schemas that have a table of versions, by name."""
    return text(
        "SELECT n.nspname FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace "
        f"WHERE c.relname = '{schema_versions.name}' AND c.relkind IN ('r', 'p') ORDER BY n.nspname"
    )
