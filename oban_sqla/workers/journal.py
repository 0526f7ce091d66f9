"""What a job can tell while it runs: how far it has come, and events for those who read along."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Generator
from typing import Any, Protocol

from ..errors import InvalidOption
from ..options.payload import encode_value, storable
from .context import running_job
from .running_loop import running_loop
from .sealing import encrypts, sealed

LONGEST_NOTE = 1_000
"""Characters."""
MOST_BYTES = 262_144
"""Of an event, as JSON."""
_LOOK_EVERY = 0.005
_YIELD_EVERY = 128


class Journal(Protocol):
    """Takes what a run tells."""

    @property
    def is_full(self) -> bool: ...

    @property
    def worker(self) -> str: ...

    def emit(self, value: str) -> None: ...

    def say(self, done: float, total: float | None, note: str | None) -> None: ...


def progress(done: float, total: float | None = None, note: str | None = None) -> Awaitable[None]:
    """Say how far the job has come: ``await progress(30, 200, "reading page 30")``.

    Others read it as ``Job.progress``. A node writes the progress of its jobs at most once a second, and the last one
    when the run ends, so a job may call this as often as it likes. In a plain function call it without ``await``.

    :param done: how much is done, in any unit.
    :param total: how much there is to do. Default: not known.
    :param note: a text for people, at most 1,000 characters; of a longer one the middle is left out. Default: none.
    :returns: an awaitable. The progress is noted by the call itself.
    :raises InvalidOption: for a number that is not finite, a note that is not text, or a note of an encrypted job.
    :raises NotInJob: if it is called outside of a job.
    :raises Fenced: if the job was given to another run.
    """
    journal = running_job("progress").journal
    given = _number("done", done), None if total is None else _number("total", total)
    if note is not None and not isinstance(note, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidOption(f"progress: note must be text, got {note!r}")
    if note is not None and encrypts(journal.worker):
        raise InvalidOption(
            f"progress: {journal.worker} encrypts what it stores, and a note is stored as it is; leave it out, and "
            "emit an event instead"
        )
    journal.say(*given, None if note is None else storable(note, LONGEST_NOTE))
    return _Noted()


def emit(value: Any) -> Awaitable[None]:
    """Emit an event of the job: ``await emit({"token": "Hello"})``. Read them with :meth:`Oban.stream`.

    Events have the numbers 1, 2, 3 … of their job; a further run of the job continues. They are written in batches,
    apart from the job's own transaction, so a job that fails keeps what it has emitted. In a plain function call it
    without ``await``; it blocks while 5,000 events wait to be written.

    :param value: what JSON can carry, at most 256 KiB as JSON. Events of encrypted jobs are encrypted.
    :returns: an awaitable, which waits while 5,000 events wait to be written.
    :raises InvalidArgs: for a value that JSON can't carry, or a larger one.
    :raises NotInJob: if it is called outside of a job.
    :raises Fenced: if the job was given to another run.
    """
    journal = running_job("emit").journal
    journal.emit(sealed(journal.worker, encode_value(value, "emit", MOST_BYTES)))
    if journal.is_full and running_loop() is None:
        while journal.is_full:
            time.sleep(_LOOK_EVERY)  # a plain function, which has no loop, waits in its thread
    return _Emitted(journal)


class _Noted:
    __slots__ = ()

    def __await__(self) -> Generator[Any, None, None]:
        yield from ()


class _Emitted:
    """Waits for room. Another event loop than the node's may run the job, so it looks again and again."""

    __slots__ = ("_journal",)
    _count = 0

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def __await__(self) -> Generator[Any, None, None]:
        return self._room().__await__()

    async def _room(self) -> None:
        _Emitted._count += 1
        if _Emitted._count % _YIELD_EVERY == 0:
            await asyncio.sleep(0)  # a job that does nothing else must not keep its node from anything
        while self._journal.is_full:  # noqa: ASYNC110 (there is no event that every loop could wait for)
            await asyncio.sleep(_LOOK_EVERY)


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidOption(f"progress: {name} must be a number, got {value!r}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InvalidOption(f"progress: {name} must be a finite number, got {value!r}")
    return number
