"""The SQL of the versions, in order, for a schema."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, cast

from sqlalchemy import TextClause, text
from sqlalchemy.dialects.postgresql import dialect as postgresql_dialect
from sqlalchemy.dialects.postgresql.base import PGIdentifierPreparer

from ..errors import InvalidOption
from ..models import metadata
from ..models.base import checked_schema
from . import v1, v2, v3, v4, v5, v6
from .live import build, build_at_once, refuse_large, under_lock
from .part import Part

Which = Literal["tables", "indexes"]

VERSIONS: tuple[Part, ...] = (
    Part(tables=v1.UP, down=v1.DOWN),
    *(version.VERSION for version in (v2, v3, v4, v5, v6)),
)
CURRENT = len(VERSIONS)

# CREATE SCHEMA IF NOT EXISTS would ask for the right to create one where it is there already.
_CREATE_SCHEMA = """DO $$ BEGIN
  IF to_regnamespace('{schema}') IS NULL THEN
    CREATE SCHEMA {schema};
  END IF;
END $$"""

_INDEX = "CREATE INDEX IF NOT EXISTS {name} ON {prefix}oban_jobs {how}"

_UNLESS_THERE = """DO $oban$ BEGIN
  IF to_regclass('{prefix}oban_schema') IS NULL THEN
{statements}
  END IF;
END $oban$"""


def up_statements(
    version: int | None = None, schema: str | None = None, *, part: Which | None = None, since: int = 0
) -> list[str]:
    """The SQL of an upgrade, in order.

    :param version: the version to reach. Default: the newest.
    :param schema: where the tables live. Default: that of ``use_schema``, or else what the search path finds.
    :param part: ``"tables"``: all but indexes, for one transaction. ``"indexes"``: each statement for itself, outside
        of a transaction. None: all of it for one transaction, which fails where the jobs table is too large for that.
    :param since: the version that is there already. Default 0: all of it, which may be run again.
    :raises InvalidOption: for a version or part that there is not.
    """
    target, prefix = checked(CURRENT if version is None else version), prefix_of(schema)
    indexes = indexes_of(target)
    if checked_part(part) == "indexes":
        return index_statements(prefix, target, indexes, concurrently=True)
    statements = [_CREATE_SCHEMA.format(schema=prefix[:-1])] if prefix else []
    for number, of in enumerate(VERSIONS[:target], 1):
        if number > since:
            statements += [_rendered(statement, prefix) for statement in of.tables]
            statements.append(f"INSERT INTO {prefix}oban_schema (version) VALUES ({number}) ON CONFLICT DO NOTHING")
    if part is None and indexes:
        statements.append(refuse_large(prefix, indexes))
    # Last, so that the lock on the jobs is held for as short a time as can be.
    locked = [_rendered(statement, prefix) for of in VERSIONS[since:target] for statement in of.locked]
    if locked:
        statements.append(under_lock(prefix, locked))
    return statements if part else statements + index_statements(prefix, target, indexes, concurrently=False)


def index_statements(prefix: str, target: int, lacking: Mapping[str, str], *, concurrently: bool) -> list[str]:
    """The SQL that builds those indexes of a version that are `lacking`, and drops those that it replaces."""
    replaced, names = replaced_until(target), indexes_of(target)
    if not (names or replaced):
        return []
    return (build if concurrently else build_at_once)(prefix, lacking, replaced, names)


def down_statements(version: int, schema: str | None = None, *, since: int = CURRENT) -> list[str]:
    """The SQL of a downgrade to `version`, in order, for one transaction. Parameters as in :func:`up_statements`."""
    target, prefix = checked(version), prefix_of(schema)
    statements: list[str] = []
    for number in range(since, target, -1):
        of = VERSIONS[number - 1]
        if number > 1:
            forget = f"DELETE FROM {prefix}oban_schema WHERE version = {number}"
            again = [_INDEX.format(name=name, prefix=prefix, how=how) for name, how in of.replaced.items()]
            back = [_rendered(statement, prefix) for statement in of.unlocked]
            statements.append(under_lock(prefix, [forget, *again, *back]))
        statements += [_rendered(statement, prefix) for statement in of.down]
    return statements


def unless_there(statements: list[str], schema: str | None) -> list[str]:
    """Those that :func:`up_statements` gives for version 1 as one that does nothing where that is there.

    For SQL that is printed: version 1 locks the jobs table without patience, so it must not run on a live one again.
    """
    prefix = prefix_of(schema)
    own = {_rendered(statement, prefix) for statement in v1.UP}
    first = [statement for statement in statements if statement in own]
    if not first:
        return statements
    wrapped = "\n".join(f"    EXECUTE $v1${statement}$v1$;" for statement in first)
    at = statements.index(first[0])
    return [
        *statements[:at],
        _UNLESS_THERE.format(prefix=prefix, statements=wrapped),
        *(statement for statement in statements[at:] if statement not in own),
    ]


def indexes_of(version: int) -> dict[str, str]:
    """The indexes that versions up to this one build apart from their tables, and that none of them replaces."""
    replaced = replaced_until(version)
    indexes = {name: definition for of in VERSIONS[:version] for name, definition in of.indexes.items()}
    return {name: definition for name, definition in indexes.items() if name not in replaced}


def replaced_until(version: int) -> tuple[str, ...]:
    """The names of the indexes that versions up to this one replace."""
    return tuple(name for of in VERSIONS[:version] for name in of.replaced)


def checked(version: object) -> int:
    """`version`, if this package has it."""
    if not isinstance(version, int) or not 0 <= version <= CURRENT:
        raise InvalidOption(f"version: expected 0 (no tables) to {CURRENT}, got {version!r}")
    return version


def checked_part(part: object) -> Which | None:
    """`part`, if it is one."""
    if part not in (None, "tables", "indexes"):
        raise InvalidOption(f'part: expected "tables", "indexes", or None for both, got {part!r}')
    return part


def as_text(statement: str) -> TextClause:
    """`statement`, in which no colon is a parameter."""
    return text(statement.replace(":", "\\:"))


def prefix_of(schema: str | None) -> str:
    """What stands before the name of a table: the schema, quoted, and a dot; blank for the search path."""
    name = schema or metadata.schema
    if name is None:
        return ""
    return _preparer.quote(checked_schema(name, "schema")) + "."


def plain(name: str) -> str:
    """The name of an index as SQL, in quotation marks where it needs them."""
    return _preparer.quote(name)


def quoted(name: str) -> str:
    """The name of a table, schema or role in quotation marks."""
    return _preparer.quote_identifier(name)


_preparer: PGIdentifierPreparer = cast(Any, postgresql_dialect)().identifier_preparer


def _rendered(statement: str, prefix: str) -> str:
    # Without blank lines, so that printed statements can be told apart by them.
    return re.sub(r"\n\n+", "\n", statement.strip()).format(schema=prefix)
