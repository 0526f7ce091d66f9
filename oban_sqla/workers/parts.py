"""What a group of tasks has raised together."""

from __future__ import annotations

import asyncio


def parts_of(error: BaseException) -> list[BaseException]:
    """The errors inside a group, and inside the groups in it, without cancellations; of any other error, it alone."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    parts: list[BaseException] = []
    seen: set[int] = set()  # a group that is in several others is looked at once
    groups: list[BaseExceptionGroup[BaseException]] = [error]  # pyright: ignore[reportUnknownVariableType]
    for group in groups:
        exceptions: tuple[BaseException, ...] = group.exceptions
        for one in exceptions:
            if id(one) in seen or isinstance(one, asyncio.CancelledError):
                continue
            seen.add(id(one))
            if isinstance(one, BaseExceptionGroup):
                groups.append(one)  # pyright: ignore[reportUnknownArgumentType]
            else:
                parts.append(one)
    return parts
