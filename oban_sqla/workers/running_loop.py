"""The event loop that runs this code, if one does."""

from __future__ import annotations

import asyncio


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop; None in a plain function that no loop runs."""
    # Without the exception of get_running_loop(). asyncio exports this name, for whom asks often.
    return asyncio._get_running_loop()
