"""A statement that changes many jobs, together with the one that finds them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .statement import Statement


@dataclass(frozen=True, slots=True)
class Bulk:
    """What changes up to `limit` jobs, except those whose ids are in `refused`, and what finds their ids.

    :param change: changes them; takes `limit` and `refused`.
    :param find: only finds them, with the same parameters and in the same order.
    :param plain: the same as `change` without `refused`, where the time to test for it counts. Default: `change`.
    :param count: how many jobs the rows of the answer speak of. Default: one each.
    """

    change: Statement
    find: Statement
    plain: Statement | None = None
    count: Callable[[Sequence[Any]], int] = len
