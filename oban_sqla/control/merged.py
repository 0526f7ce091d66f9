"""Several waits at once: what each of them gives, as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import TypeVar

from .slot import Slot

T = TypeVar("T")


async def merged(sources: Sequence[AsyncIterator[T]]) -> AsyncGenerator[T, None]:
    """What the sources give, in the order in which it comes. In a job, its slot is free while there is nothing.

    :param sources: iterators that don't free the slot themselves.
    :raises Exception: the first one that a source raises; the others are then cancelled.
    """
    found: asyncio.Queue[T | None] = asyncio.Queue()
    tasks = [asyncio.create_task(_into(found, source)) for source in sources]
    slot = Slot()
    open_sources = len(tasks)
    try:
        while open_sources:
            if found.empty():
                slot.leave()
            item = await found.get()
            if item is None:
                open_sources -= 1
                _raise_failure(tasks)
            else:
                await slot.back()
                yield item
        await slot.back()
    finally:
        slot.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _into(found: asyncio.Queue[T | None], source: AsyncIterator[T]) -> None:
    try:
        async for item in source:
            found.put_nowait(item)
    finally:
        found.put_nowait(None)


def _raise_failure(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        if task.done() and not task.cancelled():
            task.result()
