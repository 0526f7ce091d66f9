"""Waits that are merged into one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from oban_sqla.control.merged import merged


async def test_each_value_comes_as_it_is_there_until_a_source_raises_which_ends_the_others() -> None:
    ended = asyncio.Event()

    async def never() -> AsyncGenerator[str]:
        try:
            yield "first"
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def fails() -> AsyncGenerator[str]:
        yield "second"
        raise RuntimeError("the second source")

    seen: list[str] = []
    with pytest.raises(RuntimeError, match="the second source"):
        async for value in merged([never(), fails()]):
            seen.append(value)
    assert seen == ["first", "second"]
    await asyncio.wait_for(ended.wait(), 5)
    assert [value async for value in merged(list[AsyncGenerator[str]]())] == []
