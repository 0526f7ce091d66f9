"""Jobs that are enqueued in no transaction of the user's: one round trip, and one commit for all that come meanwhile.

A session costs a BEGIN, the INSERT, a COMMIT and SQLAlchemy's own work. ``await oban.enqueue(spec)`` needs none of it:
the statement is its own transaction, on a connection of the node's. While one is in flight the next ones gather.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from .. import telemetry
from ..errors import DatabaseUnavailable, ObanError
from ..models import JobSpec
from ..statements.insert import insert_plain
from ..unit_of_work import insert_parameters, take_written, watcher
from .lanes import Lane, StatementFailed
from .loop import Loop

LARGEST_BATCH = 1_000

_Waiting = tuple[Sequence[JobSpec], asyncio.Future[None]]


class Inserts(Loop):
    """Writes jobs as they come, in batches by themselves.

    :param lane: the connection to write on; it connects when the first job comes.
    :param written: called with the jobs that were committed.
    """

    name = "inserts"

    def __init__(self, lane: Lane, written: Callable[[Sequence[JobSpec]], None]) -> None:
        super().__init__()
        self.lane = lane
        self._written = written
        self._waiting: list[_Waiting] = []

    async def insert(self, specs: Sequence[JobSpec]) -> None:
        """Commit `specs`: plain ones, with neither a key nor an argument that comes later.

        :raises ObanError: when the database refused them.
        :raises DatabaseUnavailable: when the connection was lost; whether they were committed is not known then.
        """
        future = asyncio.get_running_loop().create_future()
        with telemetry.span("oban.engine.insert_jobs", specs=specs):
            self._waiting.append((specs, future))
            self.wake()
            await future

    async def step(self) -> float | None:
        while self._waiting:
            batch: list[_Waiting] = []
            size = 0
            while self._waiting and (not batch or size + len(self._waiting[0][0]) <= LARGEST_BATCH):
                batch.append(self._waiting.pop(0))
                size += len(batch[-1][0])
            await self._write(batch)
        return None

    async def stop(self) -> None:
        """End when all that was asked for is written."""
        if self._waiting and self._task is not None:
            await asyncio.wait([future for _, future in self._waiting])
        await super().stop()

    async def _write(self, batch: list[_Waiting]) -> None:
        specs = [spec for given, _ in batch for spec in given]
        parameters = insert_parameters(specs)
        try:
            rows = await self.lane.run(insert_plain, **parameters)
        except StatementFailed as error:
            if len(batch) > 1 and not error.unknown:
                for waiting in batch:  # one of them is at fault, and only that one is to hear of it
                    await self._write([waiting])
                return
            for _, future in batch:
                if not future.done():
                    future.set_exception(_said(error))
            return
        take_written(specs, rows[0])
        self._written(specs)
        for _, future in batch:
            if not future.done():
                future.set_result(None)


def are_plain(specs: Sequence[object]) -> bool:
    """Whether :class:`Inserts` can write `specs`: few, no keys, nothing to fill in, none in a session or twice."""
    return (
        0 < len(specs) <= LARGEST_BATCH
        and watcher.get() is None
        and all(
            isinstance(spec, JobSpec) and spec.unique is None and not spec.waits and not spec.met_session
            for spec in specs
        )
        and len(set(specs)) == len(specs)
    )


def _said(error: StatementFailed) -> ObanError:
    if error.unknown:
        return DatabaseUnavailable(f"the connection was lost; whether the jobs were written is not known ({error})")
    return ObanError(f"the database refused the jobs, none was written: {error}")
