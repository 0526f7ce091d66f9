"""Which indexes the jobs table has."""

from typing import Any

from sqlalchemy import ColumnElement, Executable, Text, cast, column, func, select, table
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from ..models.job import jobs
from .statement import array, statement


class JobsTable(ColumnElement[Any]):
    """The jobs table as a value of the catalog's type."""

    inherit_cache = True


@compiles(JobsTable)
def _write(_element: JobsTable, compiler: SQLCompiler, **_options: Any) -> str:
    return f"'{compiler.preparer.format_table(jobs)}'::regclass"


_INDEX = table("pg_index", *map(column, ("indexrelid", "indrelid", "indisvalid", "indisready")), schema="pg_catalog")
_CLASS = table("pg_class", *map(column, ("oid", "relname")), schema="pg_catalog")


@statement
def built_indexes() -> Executable:
    """Which of the indexes `names` of the jobs table exist and can be used."""
    return (
        select(cast(_CLASS.c.relname, Text))
        .join(_INDEX, _INDEX.c.indexrelid == _CLASS.c.oid)
        .where(
            _INDEX.c.indrelid == JobsTable(),
            cast(_CLASS.c.relname, Text) == func.any(array("names")),
            _INDEX.c.indisvalid.is_(True),
            _INDEX.c.indisready.is_(True),
        )
    )
