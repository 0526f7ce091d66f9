"""What a version of the schema consists of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Part:
    """One concern of a version, as statements in which ``{schema}`` is the prefix of a name and braces are doubled.

    :ivar tables: what locks no table that is in use: new tables and functions. May be run again.
    :ivar locked: what alters ``oban_jobs`` or ``oban_queues``: columns, defaults, triggers. They run together, under
        a lock that is asked for with patience, and each takes milliseconds whatever the size of the table. May be run
        again.
    :ivar indexes: of ``oban_jobs``: the name, and what follows the table's name in ``CREATE INDEX``.
    :ivar replaced: the indexes of earlier versions that those make needless, in the same form. They are dropped once
        the new ones are built, and made again, under the lock, by a downgrade.
    :ivar down: the end of `tables`, run after `unlocked`. May be run again.
    :ivar unlocked: the end of `locked` and of what `indexes` a column does not take with it, under the same lock.
    """

    tables: tuple[str, ...] = ()
    locked: tuple[str, ...] = ()
    indexes: Mapping[str, str] = field(default_factory=dict[str, str])
    replaced: Mapping[str, str] = field(default_factory=dict[str, str])
    down: tuple[str, ...] = ()
    unlocked: tuple[str, ...] = ()


def joined(parts: Iterable[Part]) -> Part:
    """The parts as one, in order; what takes it back in the opposite order."""
    parts = tuple(parts)
    back = parts[::-1]
    return Part(
        tables=tuple(statement for part in parts for statement in part.tables),
        locked=tuple(statement for part in parts for statement in part.locked),
        indexes={name: definition for part in parts for name, definition in part.indexes.items()},
        replaced={name: definition for part in parts for name, definition in part.replaced.items()},
        down=tuple(statement for part in back for statement in part.down),
        unlocked=tuple(statement for part in back for statement in part.unlocked),
    )


def filled(text: str, **pieces: object) -> str:
    """`text` with each ``<name>`` replaced by the piece of that name."""
    for name, piece in pieces.items():
        text = text.replace(f"<{name}>", str(piece))
    return text


def changed(text: str, *changes: tuple[str, str]) -> str:
    """The SQL of an earlier version with changes: each a passage that it has once, and what takes its place."""
    for old, new in changes:
        if text.count(old) != 1:
            raise AssertionError(f"expected {old!r} once in the SQL that this version changes")
        text = text.replace(old, new)
    return text
