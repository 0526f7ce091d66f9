"""Starting and killing nodes that are real processes."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.processes import Process, running


@asynccontextmanager
async def node(url: str, queues: str = "default=10", **options: Any) -> AsyncGenerator[Process]:
    """A node of its own, ready to work; stopped by SIGTERM at the end, and killed if that does not help."""
    command = ["-m", "tests.integration.node", url, queues, json.dumps(options)]
    with tempfile.TemporaryDirectory() as directory, running(command, Path(directory) / "log") as process:
        try:
            await process.says("ready\n", 30)
            yield process
            if process.returncode is None:
                process.signal(signal.SIGCONT)
                process.signal(signal.SIGTERM)
                await process.ended(30)
        except BaseException:
            sys.stderr.write(process.text)
            raise
