"""The place of a setting, so that an error can name it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import click

from ...errors import nearest


class SettingsError(click.ClickException):
    """A setting in a file or in the environment is not valid. The message names it, and never shows a database URL."""


@dataclass(frozen=True, slots=True)
class Place:
    """A table of a file: ``Place("oban.toml").table("queues").key("media")`` is ``oban.toml: [queues] media``.

    :param file: the name of the file.
    :param name: of the table, with dots; empty for the file itself.
    :param number: of the table in its array, from 1; None if it is in no array.
    """

    file: str
    name: str = ""
    number: int | None = None

    def __str__(self) -> str:
        if self.number is not None:
            return f"{self.file}: [[{self.name}]] {self.number}:"
        return f"{self.file}: [{self.name}]" if self.name else f"{self.file}:"

    def key(self, name: str) -> str:
        """A key of this table, as messages name it."""
        return f"{self} {name}"

    def table(self, name: str, number: int | None = None) -> Place:
        """The table with this name inside this one."""
        return Place(self.file, f"{self.name}.{name}" if self.name else name, number)

    def refuse_unknown(self, given: Iterable[str], known: Iterable[str], within: str = "") -> None:
        """Raise :class:`SettingsError` for the first name of `given` that is not in `known`, with the nearest one.

        :param within: text before the name in the message, as in ``media.limti``.
        """
        known = sorted(known)
        for name in given:
            if name not in known:
                raise SettingsError(f"{self.key(within + name)}: unknown; {nearest(name, known)}")
