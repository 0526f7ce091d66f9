"""Whether a stored value is encrypted: then nothing of it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

_MARK, _TOKEN = "encrypted", "gAAAA"
"""The only key of what is stored of encrypted arguments, and how a token begins."""


def is_encrypted(value: object) -> bool:
    """Whether `value`, as it is stored, is encrypted."""
    if not isinstance(value, Mapping):
        return False
    given = cast(Mapping[str, object], value)
    token = given.get(_MARK)
    return len(given) == 1 and isinstance(token, str) and token.startswith(_TOKEN)
