"""Several waits at once: what each of them gives, as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import TypeVar

from .slot import Slot

T = TypeVar("T")


async def merged(sources: Sequence[AsyncIterator[T]], *, frees_slot: bool = True) -> AsyncGenerator[T, None]:
    """What the sources give, in the order in which it comes. In a job, its slot is free while there is nothing.

    :param sources: iterators that don't free the slot themselves.
    :param frees_slot: False for a wait that is a part of another one, which frees the slot. Default True.
    :raises Exception: the first one that a source raises; the others are then cancelled.
    """
    found: asyncio.Queue[T | asyncio.Task[None]] = asyncio.Queue()
    tasks = [asyncio.create_task(_into(found, source)) for source in sources]
    for task in tasks:
        task.add_done_callback(found.put_nowait)
    slot = Slot(is_mine=frees_slot)
    running = len(tasks)
    try:
        while running:
            if found.empty():
                slot.leave()
            item = await found.get()
            if isinstance(item, asyncio.Task):
                item.result()
                running -= 1
            else:
                await slot.back()
                yield item
        await slot.back()
    finally:
        slot.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _into(found: asyncio.Queue[T | asyncio.Task[None]], source: AsyncIterator[T]) -> None:
    async for item in source:
        found.put_nowait(item)
