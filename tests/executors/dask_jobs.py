"""Workers that run on a Dask cluster."""

from __future__ import annotations

import os
import time
from pathlib import Path

from oban_sqla import job


@job(executor="dask", queue="dask", recorded=True, backoff=0.1)  # those that wait on a lost worker fail, too
def triple(number: int) -> list[int]:
    return [3 * number, os.getpid()]


@job(executor="dask", queue="dask")
def leave() -> None:
    os._exit(1)


@job(executor="dask", queue="dask")
def tarry(file: str, seconds: float) -> None:
    Path(file).write_text("running")
    time.sleep(seconds)


@job(executor="dask", queue="dask")
def refuse() -> None:
    raise ValueError("no")
