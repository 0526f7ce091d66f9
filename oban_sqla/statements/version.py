"""Which version the tables have."""

from sqlalchemy import Executable, func, select

from ..models.cluster import schema_versions
from .statement import statement


@statement
def tables_version() -> Executable:
    """The version of the tables; the statement fails where there are none."""
    return select(func.coalesce(func.max(schema_versions.c.version), 0))
