"""The chunks of a producer that still collect: which of its jobs run together, in one call."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager

from ..workers.registry import workers
from .chunk_attempt import ChunkAttempt, key_of
from .row import Row
from .verdict import Stop


class Look:
    """One fetch for a chunk."""

    def __init__(self) -> None:
        self.is_full = True
        """Whether more jobs may wait: after a full answer, and after none. Written by what fetches."""


class Chunks:
    """Brings jobs of one key together.

    A fetch of ten jobs would else give a node ten calls of one job each: rows of a key that collects join it, and it
    counts as one in the limit of its queue.
    """

    def __init__(self) -> None:
        # By key: written by began() and begins().
        self._collecting: dict[tuple[str, str], ChunkAttempt] = {}
        # Those for which more jobs may wait in the database: written by began(), begins(), notice() and
        # looking().
        self._to_look: set[tuple[str, str]] = set()

    def __iter__(self) -> Iterator[ChunkAttempt]:
        """The chunks that collect."""
        return iter(list(self._collecting.values()))

    def joins(self, row: Row) -> bool:
        """Let `row` run with the jobs of its key that collect, if there are some."""
        worker = workers.chunked.get(row.worker)
        if worker is None or (chunk := self._collecting.get(key_of(worker, row))) is None or not chunk.wanted:
            return False
        chunk.join(row)
        return True

    def began(self, chunk: ChunkAttempt) -> None:
        """`chunk` collects jobs from now on."""
        if chunk.wanted:
            self._collecting[chunk.key] = chunk
            self._to_look.add(chunk.key)

    def begins(self, chunk: ChunkAttempt) -> None:
        """`chunk` collects no more jobs."""
        if self._collecting.get(chunk.key) is chunk:
            del self._collecting[chunk.key]
            self._to_look.discard(chunk.key)

    def notice(self) -> None:
        """There may be new jobs."""
        self._to_look.update(self._collecting)

    def to_fill(self) -> ChunkAttempt | None:
        """One for which more jobs may wait."""
        return next((chunk for key in self._to_look if (chunk := self._collecting[key]).wanted), None)

    @contextmanager
    def looking(self, chunk: ChunkAttempt) -> Generator[Look]:
        """Jobs for this one are being fetched; a notice that comes meanwhile counts."""
        look = Look()
        self._to_look.discard(chunk.key)
        try:
            yield look
        finally:
            if look.is_full and self._collecting.get(chunk.key) is chunk:
                self._to_look.add(chunk.key)

    @property
    def wanted(self) -> int:
        """How many jobs can join."""
        return sum(chunk.wanted for chunk in self._collecting.values())

    def stop(self) -> None:
        """Give back what only collects."""
        for chunk in self:
            chunk.ask_to_stop(Stop.SHUTDOWN)
