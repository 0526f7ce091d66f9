"""A place in the JSON of a job: ``args.order``."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Text, literal_column
from sqlalchemy.dialects.postgresql import JSONB

from ..errors import InvalidOption

COLUMNS = ("args", "meta")
LONGEST_NAME = 63
"""Bytes of a name in PostgreSQL."""


@dataclass(frozen=True, slots=True)
class JobPath:
    """A column of a job, and the keys that lead to a value in it.

    :param column: ``args`` or ``meta``.
    :param keys: one or more.
    """

    column: str
    keys: tuple[str, ...]

    @classmethod
    def parse(cls, text: object, what: str) -> JobPath:
        """The path that `text` names.

        :param what: takes it, for the message.
        :raises InvalidOption: for anything else than ``args`` or ``meta`` and keys, with points between.
        """
        column, *keys = text.split(".") if isinstance(text, str) else ("",)
        if column not in COLUMNS or not keys or not all(keys) or "\0" in str(text):
            raise InvalidOption(f'{what}: expected a path such as "args.order" or "meta.order.id", got {text!r}')
        return cls(column, tuple(keys))

    @property
    def text(self) -> str:
        """The path as it is written: ``args.order``."""
        return ".".join((self.column, *self.keys))

    @property
    def sql(self) -> str:
        """The value as text, in SQL: what the index, its predicate and each query have to spell alike."""
        *way, last = map(quoted, self.keys)
        return "".join((self.column, *(f" -> {key}" for key in way), f" ->> {last}"))

    @property
    def name(self) -> str:
        """The name of its index without the ending."""
        plain = "_".join(("oban_jobs", self.column, *self.keys))
        safe = re.sub(r"[^a-z0-9_]", "_", plain.lower())
        if safe == plain and "_".join(self.keys).count("_") == len(self.keys) - 1 and len(safe) <= LONGEST_NAME - 6:
            return safe
        return f"{safe[: LONGEST_NAME - 15]}_{hashlib.sha256(self.text.encode()).hexdigest()[:8]}"

    def value(self, column: Any) -> Any:
        """The value as text, as an expression.

        :param column: of a job, with the JSON.
        """
        *way, last = map(quoted, self.keys)
        # Not column["order"]: newer versions of SQLAlchemy write that as a subscript, which no index on ->> serves.
        for key in way:
            column = column.op("->", return_type=JSONB())(literal_column(key))
        return column.op("->>", return_type=Text())(literal_column(last))


def quoted(text: str) -> str:
    """`text` as a literal of SQL, for names that an index, or a function's arguments, have to spell out."""
    return "'" + text.replace("'", "''") + "'"
