"""What tests of commands about jobs share."""

from __future__ import annotations

from typing import Any, Protocol


class Insert(Protocol):
    """Writes a row of ``oban_jobs``, and returns its id."""

    def __call__(self, **values: Any) -> int: ...
