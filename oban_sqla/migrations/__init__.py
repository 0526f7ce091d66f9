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

**A live table.** An upgrade alters the jobs table under a lock that it asks for 50 ms at a time, and holds it until the
transaction ends: some milliseconds when the revision does nothing else. Where the table has more than 1,000 pages (8
MB), the indexes need a separate revision, which builds them CONCURRENTLY::

    def upgrade():
        migrations.upgrade(op, version=6, part="tables")     # one revision

    def upgrade():
        migrations.upgrade(op, version=6, part="indexes")    # the next one

Each half may be run again; an index that was left behind invalid is dropped and built again. With Alembic, set
``transaction_per_migration=True`` in ``env.py``: else the first half keeps its lock until the second one begins.
:func:`migrate` and ``oban-sqla migrate`` do both halves by themselves.

**Rights.** The role that migrates owns the tables. `grants` says what the role of a node needs, and that of a program
which only enqueues. An upgrade gives the roles that have rights on ``oban_jobs`` the same rights on new tables.

Belongs here: one module or folder per version of the schema, which never changes after its release. Does not: the
tables as Python uses them (see `models`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

from ..errors import InvalidOption, SchemaOutdated
from ..models import metadata
from ..options.engine import check_engine
from ..options.job_path import JobPath
from ..types import state_enum
from . import paths
from .live import SMALL_PAGES, TOO_LARGE, missing
from .outside import LOCK, alone, outside
from .reindexing import Rebuilt, reindex
from .statements import (
    CURRENT,
    Which,
    as_text,
    checked,
    checked_part,
    down_statements,
    index_statements,
    indexes_of,
    prefix_of,
    replaced_until,
    unless_there,
    up_statements,
)

if TYPE_CHECKING:
    from alembic.operations import Operations

    OperationsLike = Operations | Any  # the module `alembic.op` stands for the current Operations


def upgrade(
    op: OperationsLike, version: int | None = None, schema: str | None = None, part: Which | None = None
) -> None:
    """Create or upgrade the tables, from an Alembic revision. It may be run again.

    :param op: ``alembic.op``.
    :param version: the version to reach. Default: the newest.
    :param schema: the schema of the tables; it is created if it does not exist. Default: the one given to
        :func:`oban_sqla.use_schema`, or else the connection's default.
    :param part: ``"tables"``: tables, columns, functions and triggers. ``"indexes"``: the indexes of the jobs table,
        built CONCURRENTLY outside of a transaction; Alembic commits what came before. None, the default: both in the
        transaction of the revision, where the jobs table has at most 1,000 pages (8 MB) or lacks no index.
    :raises InvalidOption: for a version or part that this package doesn't have, and for both parts at once on a larger
        table; the message names the two calls. Also for something else than ``alembic.op``.
    :raises SchemaOutdated: for ``"indexes"`` before ``"tables"``.
    """
    _check_op(op, "upgrade")
    target, half, context = checked(CURRENT if version is None else version), checked_part(part), op.get_context()
    if context.as_sql:
        statements = up_statements(target, schema, part=half)
        statements = statements if half == "indexes" else unless_there(statements, schema)
    else:
        statements = _needed(op.get_bind(), target, schema, half)
    if statements:
        _run(op, statements, half == "indexes", 'upgrade(op, part="indexes")')


def downgrade(op: OperationsLike, version: int, schema: str | None = None) -> None:
    """Go back to a version, from an Alembic revision. Version 0 drops everything, the jobs too.

    :param op: ``alembic.op``.
    :param version: the version to go back to.
    :param schema: the schema of the tables; the schema itself is not dropped. Default: the one given to
        :func:`oban_sqla.use_schema`, or else the connection's default.
    :raises InvalidOption: for a version that this package doesn't have, or something else than ``alembic.op``.
    """
    _check_op(op, "downgrade")
    for statement in down_statements(version, schema):
        op.execute(as_text(statement))


def index_jobs(op: OperationsLike, path: str, schema: str | None = None, *, concurrently: bool = False) -> None:
    """Index a value in the arguments of jobs, from an Alembic revision: ``index_jobs(op, "args.order")``.

    It makes a partial index, which costs jobs without the key nothing, and the statistics without which the planner
    does not use it for joins. :func:`job_relationship` and ``Job.args["order"].astext == "7"`` use it. It may be run
    again; an index that was left behind invalid is built again.

    :param op: ``alembic.op``.
    :param path: ``args`` or ``meta``, then one or more keys, with points between.
    :param schema: the schema of the tables. Default: the one given to :func:`oban_sqla.use_schema`, or else the
        connection's default.
    :param concurrently: True: build it outside of a transaction, so that no insert waits; for a table in use. Alembic
        commits what came before. Default False: in the transaction of the revision.
    :raises InvalidOption: for a path that is not one, and with ``concurrently`` for a connection in a transaction.
    """
    _check_op(op, "index_jobs")
    statements = paths.create(prefix_of(schema), JobPath.parse(path, "index_jobs"), concurrently=concurrently)
    _run(op, statements, concurrently, "index_jobs(op, …, concurrently=True)")


def drop_index_jobs(op: OperationsLike, path: str, schema: str | None = None, *, concurrently: bool = False) -> None:
    """Remove what :func:`index_jobs` has made, from an Alembic revision.

    :param op: ``alembic.op``.
    :param path: the path that was indexed.
    :param schema: the schema of the tables. Default: the one given to :func:`oban_sqla.use_schema`, or else the
        connection's default.
    :param concurrently: True: outside of a transaction, so that no job waits. Default False.
    :raises InvalidOption: for a path that is not one, and with ``concurrently`` for a connection in a transaction.
    """
    _check_op(op, "drop_index_jobs")
    statements = paths.drop(prefix_of(schema), JobPath.parse(path, "drop_index_jobs"), concurrently=concurrently)
    _run(op, statements, concurrently, "drop_index_jobs(op, …, concurrently=True)")


async def migrate(engine: AsyncEngine, schema: str | None = None, *, version: int | None = None) -> int:
    """Bring the tables to a version without Alembic, for scripts, tests and the command line.

    On a jobs table that is in use, no insert, fetch or ack waits for it. Indexes that are missing or invalid are built
    CONCURRENTLY, which waits for the transactions that are open. Only one call at a time works on a database. A second
    one waits, and then finds the tables up to date.

    :param engine: an engine whose role may create tables. While it builds indexes on a table in use, two of its
        connections are used at the same time.
    :param schema: the schema of the tables; it is created if it does not exist. Default: the one given to
        :func:`oban_sqla.use_schema`, or else the connection's default.
    :param version: the version to reach; it may be an older one. 0 drops everything, the jobs too. Default: the newest.
    :returns: the version before the call, 0 for none. Tables that are newer than this package are not changed.
    :raises InvalidOption: for a version that this package doesn't have, or something else than an ``AsyncEngine``.
    """
    check_engine(engine, "migrate")
    target = checked(CURRENT if version is None else version)
    async with engine.begin() as connection:
        before, has_more = await connection.run_sync(_migrated, target, schema)
    if has_more:
        # The second connection only here: a pooler may have no more than one.
        async with alone(engine), outside(engine) as connection:
            found = await connection.run_sync(_indexes, target, schema)  # another call may have built them
            for statement in index_statements(prefix_of(schema), target, found.lacking, concurrently=True):
                await connection.execute(as_text(statement))
    return before


async def version(engine: AsyncEngine, schema: str | None = None) -> int:
    """Read the version of the tables in the database.

    :param engine: an engine on the database.
    :param schema: the schema of the tables. Default: the one given to :func:`oban_sqla.use_schema`, or else the
        connection's default.
    :returns: the version; 0 if there are no tables.
    """
    check_engine(engine, "version")
    async with engine.connect() as connection:
        return await connection.run_sync(_version, schema)


async def missing_indexes(engine: AsyncEngine, schema: str | None = None) -> list[str]:
    """Find the indexes of the jobs table that :func:`migrate` would build.

    :param engine: an engine on the database.
    :param schema: the schema of the tables. Default: the one given to :func:`oban_sqla.use_schema`, or else the
        connection's default.
    :returns: the names of those that are missing or invalid.
    """
    check_engine(engine, "missing_indexes")
    async with engine.connect() as connection:
        found = await connection.run_sync(_indexes, CURRENT, schema)
    return list(found.lacking)


def described(found: int, schema: str | None, others: Sequence[str] = ()) -> str:
    """The version that was `found`, as the beginning of a message.

    :param schema: where it was looked for.
    :param others: the schemas that have tables.
    """
    where = "" if schema is None else f" in the schema {schema!r}"
    if found:
        return f"the tables have version {found}{where}"
    if not (named := [name for name in others if name != schema]):
        return f"no oban_sqla tables found{where}"
    have = f"the schema {named[0]!r} has" if len(named) == 1 else f"the schemas {', '.join(map(repr, named))} have"
    return f"no oban_sqla tables found{where or ' in the search path'}; {have} them"


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


def include_enum(name: str) -> bool:
    """Say whether an enum type of PostgreSQL belongs to your application, for plugins that compare enum types.

    With alembic-postgresql-enum, which otherwise drops what none of your models uses::

        alembic_postgresql_enum.set_configuration(alembic_postgresql_enum.Config(include_name=migrations.include_enum))

    :param name: the name of the type.
    :returns: False for a type of oban_sqla, else True.
    """
    return name != state_enum.name


_TABLES = frozenset(table.name for table in metadata.tables.values())


def _check_op(op: object, what: str) -> None:
    if not hasattr(op, "get_context"):
        raise InvalidOption(
            f"{what}: expected alembic.op, in a revision, got {type(op).__name__}; in a program write "
            "await migrations.migrate(engine)"
        )


def _run(op: OperationsLike, statements: list[str], outside: bool, what: str) -> None:
    if outside:
        _run_outside(op, statements, what)
        return
    for statement in statements:
        op.execute(as_text(statement))


def _run_outside(op: OperationsLike, statements: list[str], what: str) -> None:
    """Run `statements` outside of a transaction."""
    try:
        block = op.get_context().autocommit_block()
        block.__enter__()
    except AssertionError as error:
        raise InvalidOption(
            f"migrations.{what}: env.py gave Alembic a connection that is in a transaction, in "
            "which no index can be built CONCURRENTLY; connect with engine.connect() instead of engine.begin()"
        ) from error
    try:
        for statement in statements:
            op.execute(as_text(statement))
    finally:
        block.__exit__(None, None, None)


def _needed(connection: Connection, target: int, schema: str | None, part: Which | None) -> list[str]:
    """The statements that bring what is there to `target`."""
    found = min(_version(connection, schema), target)
    if part == "tables":
        return up_statements(target, schema, part=part, since=found) if found < target else []
    indexes, prefix = _indexes(connection, target, schema), prefix_of(schema)
    if part == "indexes":
        if found < target:
            raise SchemaOutdated(
                f'{described(found, schema)}; call migrations.upgrade(op, version={target}, part="tables") in a '
                'revision before the one with part="indexes"'
            )
        return index_statements(prefix, target, indexes.lacking, concurrently=True) if indexes.has_work else []
    if indexes.lacking and indexes.pages > SMALL_PAGES:
        raise InvalidOption(f"migrations.upgrade(op): {TOO_LARGE}")
    if found < target:
        return up_statements(target, schema, since=found)
    return index_statements(prefix, target, indexes.lacking, concurrently=False) if indexes.has_work else []


def _migrated(connection: Connection, target: int, schema: str | None) -> tuple[int, bool]:
    """Bring the tables to `target`. Returns the version before, and whether there is more to do for indexes."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
    before = _version(connection, schema)
    statements: list[str] = []
    has_more = False
    if target < before <= CURRENT:
        statements = down_statements(target, schema, since=before)
    elif before <= target:
        indexes = _indexes(connection, target, schema)
        is_small = indexes.pages <= SMALL_PAGES and before < target
        if before < target:
            statements = up_statements(target, schema, part=None if is_small else "tables", since=before)
        has_more = indexes.has_work and not is_small
    for statement in statements:
        connection.execute(as_text(statement))
    return before, has_more


@dataclass(frozen=True, slots=True)
class _Indexes:
    """The indexes of the jobs table beside those that a version has.

    :ivar pages: how large the table is.
    :ivar lacking: those that are missing or invalid, with their definitions.
    :ivar has_work: whether some are, or an index is there that others replace.
    """

    pages: int
    lacking: dict[str, str]
    has_work: bool


def _indexes(connection: Connection, target: int, schema: str | None) -> _Indexes:
    """What the database lacks of the indexes of the version `target`."""
    indexes, replaced = indexes_of(target), replaced_until(target)
    query = as_text(missing(prefix_of(schema), indexes, replaced))
    pages, names, has_replaced = connection.execute(query).one()
    lacking = {name: indexes[name] for name in indexes if name in names}
    return _Indexes(int(pages), lacking, bool(lacking) or bool(has_replaced))


def _version(connection: Connection, schema: str | None) -> int:
    prefix = prefix_of(schema)
    there = connection.execute(text("SELECT to_regclass(:name) IS NOT NULL"), {"name": f"{prefix}oban_schema"})
    if not there.scalar_one():
        return 0
    return int(connection.execute(text(f"SELECT coalesce(max(version), 0) FROM {prefix}oban_schema")).scalar_one())


__all__ = [
    "CURRENT",
    "Rebuilt",
    "downgrade",
    "drop_index_jobs",
    "include_enum",
    "include_object",
    "index_jobs",
    "migrate",
    "reindex",
    "up_statements",
    "upgrade",
    "version",
]
