"""Reads TOML into typed values."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeGuard, cast

from ...errors import InvalidOption
from .place import SettingsError


def parsed(path: Path) -> dict[str, Any]:
    """The tables of a file.

    :raises SettingsError: for a file that can't be read, or is not valid TOML.
    """
    try:
        return tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise SettingsError(f"{path} can't be read: {error.strerror}") from error
    except ValueError as error:  # not TOML, or not UTF-8
        raise SettingsError(f"{path} is not valid TOML: {error}") from error


def inline(text: str, example: str) -> dict[str, Any]:
    """A table on one line, such as ``{a = 1}``.

    :param example: an entry of it, for messages: ``"a = 1"``.
    :raises InvalidOption: for anything else.
    """
    try:
        found = table(tomllib.loads(f"value = {text}")["value"])
    except ValueError as error:
        raise InvalidOption(f"{text!r} is not a table of TOML: {error}") from error
    if found is None:
        raise InvalidOption(f"{text!r}: expected a table of TOML, such as {{{example}}}")
    return found


def table(value: Any) -> dict[str, Any] | None:
    """`value` if it is a table, else None."""
    return cast(dict[str, Any], value) if isinstance(value, dict) else None


def array(value: Any) -> list[Any] | None:
    """`value` if it is an array, else None."""
    return value if _is_array(value) else None


def _is_array(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)
