"""The functions that the migration creates in the schema of the tables, as SQLAlchemy expressions."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from ..models.job import jobs


class OwnFunction(FunctionElement[Any]):
    """Base of these functions. Each is a class, because the name is a part of the cache key only there.

    ``schema_translate_map`` reaches tables alone, so the name is written beside that of the jobs table.
    """

    inherit_cache = True


class PartitionKey(OwnFunction):
    """The key of a job in its queue: of an epoch, the fields of a partition, and the job's worker, args and meta."""

    name = "oban_partition_key"
    inherit_cache = True
    type = Text()


@compiles(OwnFunction)
def _write(element: OwnFunction, compiler: SQLCompiler, **options: Any) -> str:
    prefix = compiler.preparer.format_table(jobs).removesuffix(jobs.name)
    return f"{prefix}{element.name}({compiler.process(element.clauses, **options)})"
