"""Which version the tables have."""

from sqlalchemy import Executable, func, select

from ..models.cluster import SchemaVersion
from .statement import statement


@statement
def tables_version() -> Executable:
    """The version of the tables; the statement fails where there are none."""
    table = SchemaVersion.__table__
    return select(func.coalesce(func.max(table.c.version), 0))
