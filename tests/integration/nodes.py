"""Starting and killing nodes that are real processes."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def node(url: str, queues: str = "default=10", **options: Any) -> AsyncIterator[asyncio.subprocess.Process]:
    """A node of its own, ready to work; stopped by SIGTERM at the end, and killed if that does not help."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.integration.node", url, queues, json.dumps(options),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), 30)
        assert line == b"ready\n", "the node did not start; see its standard error"
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 30)
            except TimeoutError:
                process.kill()
                await process.wait()
        # The transport would else be closed by the garbage collector, when the loop is gone.
        process._transport.close()  # type: ignore[attr-defined]
