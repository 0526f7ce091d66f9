"""What jobs are grouped by: their worker, and paths into their args and meta."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from ..errors import InvalidOption


def check_fields(by: object, what: str) -> tuple[str, ...]:
    """The fields that `by` names, in order.

    :param what: has it, for messages.
    :raises InvalidOption: for anything but ``"worker"``, ``"args.…"`` and ``"meta.…"``, or a sequence of these.
    """
    fields = _items(by)
    if isinstance(by, str) and (several := listed_in(by)):
        raise InvalidOption(f"{what}: by: {by!r} are several fields; give a sequence of them: {several}")
    found = tuple(field for field in fields if isinstance(field, str) and _is_field(field))
    if not found or len(found) != len(fields):
        raise InvalidOption(
            f'{what}: by must be "worker", "args.…" or "meta.…", or a sequence of these, such as '
            f'"args.tenant_id"; got {by!r}'
        )
    return found


def listed_in(text: str) -> list[str]:
    """The fields of a list with commas, such as ``"args.a, worker"``; empty for any other text."""
    parts = [part.strip() for part in text.split(",")]
    return parts if len(parts) > 1 and all(map(_is_field, parts)) else []


def kept_fields(by: str | Sequence[str], what: str) -> str | tuple[str, ...]:
    """`by` as a value that nothing changes later; see :func:`check_fields`."""
    fields = check_fields(by, what)
    return by if isinstance(by, str) else fields


def _items(by: object) -> Sequence[object]:
    if isinstance(by, str) or not isinstance(by, Sequence):
        return [by]
    return cast(Sequence[object], by)


def _is_field(field: str) -> bool:
    place, dot, path = field.partition(".")
    return field == "worker" or (
        place in ("args", "meta") and bool(dot) and all(path.split(".")) and "\x00" not in path
    )
