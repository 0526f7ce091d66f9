"""SystemExit and GeneratorExit of the program's code in a task that another one waits for.

asyncio raises the first out of the event loop, also where another task waits for it. The second, thrown into what
waits, closes the coroutines that it awaits instead of being raised in them.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")

Exit = SystemExit | GeneratorExit


async def held(work: Awaitable[T]) -> T | Exit:
    """What comes of `work`, for a task to run; :func:`raised` gives it to what waits for the task."""
    try:
        return await work
    except (SystemExit, GeneratorExit) as error:
        return error


def raised(value: T | Exit) -> T:
    """The value that :func:`held` has returned.

    :raises SystemExit, GeneratorExit: where the work has raised it.
    """
    if isinstance(value, SystemExit | GeneratorExit):
        raise value
    return value
