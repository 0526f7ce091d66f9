"""What a TOML file says, in types."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeGuard, cast

from .place import SettingsError


def parsed(path: Path) -> dict[str, Any]:
    """The tables of a file.

    :raises SettingsError: for a file that can't be read, or is not valid TOML.
    """
    try:
        return tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise SettingsError(f"{path} can't be read: {error.strerror}") from error
    except ValueError as error:  # of TOML, or of UTF-8
        raise SettingsError(f"{path} is not valid TOML: {error}") from error


def table(value: Any) -> dict[str, Any] | None:
    """`value` if it is a table."""
    return cast(dict[str, Any], value) if isinstance(value, dict) else None


def array(value: Any) -> list[Any] | None:
    """`value` if it is an array, of tables or of anything else."""
    return value if _is_array(value) else None


def _is_array(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)
