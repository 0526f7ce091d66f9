"""The tables of oban_sqla, in versions, created and upgraded from your Alembic revisions.

::

    from alembic import op
    from oban_sqla import migrations

    def upgrade():
        migrations.upgrade(op)

    def downgrade():
        migrations.downgrade(op, version=0)

It works online and with ``--sql``, in any schema. Nothing else in this package changes the schema. The form (a function
with a version, called from the application's own revisions) is Oban's.

Belongs here: one module per version of the schema, which never changes after its release. Does not: the tables as
Python uses them (see `models`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Connection, TextClause, text
from sqlalchemy.dialects.postgresql import dialect as postgresql_dialect

from ..errors import InvalidOption
from ..models import metadata
from . import v1

if TYPE_CHECKING:
    from alembic.operations import Operations
    from sqlalchemy.ext.asyncio import AsyncEngine

    OperationsLike = Operations | Any  # the module `alembic.op` stands for the current Operations

VERSIONS = (v1,)
CURRENT = len(VERSIONS)

# CREATE SCHEMA IF NOT EXISTS would ask for the right to create one where it is there already.
_CREATE_SCHEMA = """DO $$ BEGIN
  IF to_regnamespace('{schema}') IS NULL THEN
    CREATE SCHEMA {schema};
  END IF;
END $$"""

_LOCK = 0x6F62616E  # "oban": only one `migrate` at a time in a database


def upgrade(op: OperationsLike, version: int | None = None, schema: str | None = None) -> None:
    """Create or upgrade the tables, from an Alembic revision. It may be run again.

    :param op: ``alembic.op``.
    :param version: the version to reach. Default: the newest.
    :param schema: the schema of the tables; it is created if it does not exist. Default: the one given to
        :func:`oban_sqla.use_schema`, or else the connection's default.
    :raises InvalidOption: for a version that this package doesn't have.
    """
    for statement in up_statements(version, schema):
        op.execute(_text(statement))


def downgrade(op: OperationsLike, version: int, schema: str | None = None) -> None:
    """Go back to a version, from an Alembic revision. Version 0 drops everything, the jobs too.

    :param op: ``alembic.op``.
    :param version: the version to go back to.
    :param schema: the schema of the tables; the schema itself is not dropped. Default: the one given to
        :func:`oban_sqla.use_schema`, or else the connection's default.
    :raises InvalidOption: for a version that this package doesn't have.
    """
    for statement in down_statements(version, schema):
        op.execute(_text(statement))


async def migrate(engine: AsyncEngine, schema: str | None = None, *, version: int | None = None) -> int:
    """Bring the tables to a version without Alembic, for scripts, tests and the command line.

    Only one call at a time works on a database. A second one waits, and then finds the tables up to date.

    :param engine: an engine whose role may create tables.
    :param schema: the schema of the tables; it is created if it does not exist. Default: the one given to
        :func:`oban_sqla.use_schema`, or else the connection's default.
    :param version: the version to reach; it may be an older one. 0 drops everything, the jobs too. Default: the newest.
    :returns: the version before the call, 0 for none. Tables that are newer than this package are not changed.
    :raises InvalidOption: for a version that this package doesn't have.
    """
    target = _checked(CURRENT if version is None else version)

    def run(connection: Connection) -> int:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        before = _version(connection, schema)
        if before < target:
            statements = up_statements(target, schema)
        else:
            statements = down_statements(target, schema) if target < before <= CURRENT else []
        for statement in statements:
            connection.execute(_text(statement))
        return before

    async with engine.begin() as connection:
        return await connection.run_sync(run)


async def version(engine: AsyncEngine, schema: str | None = None) -> int:
    """Read the version of the tables in the database.

    :param engine: an engine on the database.
    :param schema: the schema of the tables. Default: the one given to :func:`oban_sqla.use_schema`, or else the
        connection's default.
    :returns: the version; 0 if there are no tables.
    """
    async with engine.connect() as connection:
        return await connection.run_sync(_version, schema)


def described(found: int, schema: str | None) -> str:
    """The version that was `found`, as the beginning of a message."""
    where = "" if schema is None else f" in the schema {schema!r}"
    return ("no oban_sqla tables found" if found == 0 else f"the tables have version {found}") + where


def include_object(object: Any, name: str | None, type_: str, reflected: bool, compare_to: Any) -> bool:
    """For ``context.configure(include_object=…)`` in ``env.py``: exclude the tables of oban_sqla from autogenerate.

    ``alembic revision --autogenerate`` and ``alembic check`` then neither drop nor change them, whether their metadata
    is part of ``target_metadata`` or not. Alembic calls it with these arguments:

    :param object: the table, column, index or constraint.
    :param name: its name; None if it has none.
    :param type_: ``"table"``, ``"column"``, ``"index"``, …
    :param reflected: whether it was read from the database.
    :param compare_to: the object that it is compared with; None if there is none.
    :returns: False for what belongs to oban_sqla, else True.
    """
    table = object if type_ == "table" else getattr(object, "table", None)
    return table is None or table.name not in _TABLES


def up_statements(version: int | None = None, schema: str | None = None) -> list[str]:
    """The SQL that :func:`upgrade` runs.

    :param version: the version to reach. Default: the newest.
    :param schema: the schema of the tables. Default: the one given to :func:`oban_sqla.use_schema`, or else the
        connection's default.
    :returns: the statements, in order.
    :raises InvalidOption: for a version that this package doesn't have.
    """
    target = _checked(CURRENT if version is None else version)
    prefix = _prefix(schema)
    statements = [_CREATE_SCHEMA.format(schema=prefix[:-1])] if prefix else []
    for number, module in enumerate(VERSIONS[:target], 1):
        statements += [_render(statement, prefix) for statement in module.UP]
        statements.append(f"INSERT INTO {prefix}oban_schema (version) VALUES ({number}) ON CONFLICT DO NOTHING")
    return statements


def down_statements(version: int, schema: str | None = None) -> list[str]:
    """The SQL that :func:`downgrade` runs.

    :param version: the version to go back to.
    :param schema: the schema of the tables. Default: the one given to :func:`oban_sqla.use_schema`, or else the
        connection's default.
    :returns: the statements, in order.
    :raises InvalidOption: for a version that this package doesn't have.
    """
    target = _checked(version)
    prefix = _prefix(schema)
    statements: list[str] = []
    for number in range(CURRENT, target, -1):
        if number > 1:
            statements.append(f"DELETE FROM {prefix}oban_schema WHERE version = {number}")
        statements += [_render(statement, prefix) for statement in VERSIONS[number - 1].DOWN]
    return statements


_quote: Callable[[str], str] = cast(Any, postgresql_dialect)().identifier_preparer.quote
_TABLES = frozenset(table.name for table in metadata.tables.values())


def _checked(version: int) -> int:
    if not isinstance(version, int) or not 0 <= version <= CURRENT:
        raise InvalidOption(f"version: expected 0 (no tables) to {CURRENT}, got {version!r}")
    return version


def _prefix(schema: str | None) -> str:
    name = schema or metadata.schema
    if name is None:
        return ""
    if set(name) & set("\"'{}"):
        raise InvalidOption(f"schema: expected a name without quotes and braces, got {name!r}")
    return _quote(name) + "."


def _render(statement: str, prefix: str) -> str:
    return statement.strip().format(schema=prefix)


def _text(statement: str) -> TextClause:
    return text(statement.replace(":", "\\:"))  # no colon here is a parameter


def _version(connection: Connection, schema: str | None) -> int:
    prefix = _prefix(schema)
    there = connection.execute(text("SELECT to_regclass(:name) IS NOT NULL"), {"name": f"{prefix}oban_schema"})
    if not there.scalar_one():
        return 0
    return int(connection.execute(text(f"SELECT coalesce(max(version), 0) FROM {prefix}oban_schema")).scalar_one())


__all__ = ["CURRENT", "downgrade", "include_object", "migrate", "up_statements", "upgrade", "version"]
