"""The SQL of every constant statement, as files: what a change of Core, or of SQLAlchemy, does to it is seen in a diff.

``python -m tests.statements.golden`` writes the files anew.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Dialect
from sqlalchemy.dialects.postgresql.asyncpg import dialect

import oban_sqla
from oban_sqla.models.job import jobs
from oban_sqla.statements.statement import Statement

FOLDER = Path(__file__).parent / "sql"
SCHEMAS = {"public": None, "jobs": "jobs"}


def statements() -> dict[str, Statement]:
    """Every constant statement of the package by its name; two of one name also by the name of their module."""
    found: dict[str, list[tuple[str, Statement]]] = {}
    for info in pkgutil.walk_packages(oban_sqla.__path__, "oban_sqla."):
        if info.name.endswith("__main__") or info.name.startswith("oban_sqla.cli."):
            continue  # the demo and the benchmark register workers, which other tests would find
        module = importlib.import_module(info.name)
        for value in vars(module).values():
            if isinstance(value, Statement) and value.module == info.name:
                found.setdefault(value.name, []).append((info.name.rpartition(".")[2], value))
    return {
        name if len(same) == 1 else f"{module}_{name}": value for name, same in found.items() for module, value in same
    }


def golden() -> Iterator[tuple[Path, str]]:
    """Each file with the SQL that belongs into it."""
    asyncpg: Dialect = dialect()  # type: ignore[no-untyped-call]
    for name, value in statements().items():
        for schema, translated in SCHEMAS.items():
            schemas = {jobs.schema: translated} if translated else None
            yield FOLDER / f"{name}.{schema}.sql", value.compiled(asyncpg, schemas).sql.strip() + "\n"


if __name__ == "__main__":
    made = list(golden())  # before the old ones go: it may fail
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.sql"):
        old.unlink()
    for path, sql in made:
        path.write_text(sql)
