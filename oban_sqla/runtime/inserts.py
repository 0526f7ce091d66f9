"""Jobs enqueued outside of the user's transactions: one round trip, and one commit for all that come meanwhile.

A session costs a BEGIN, the INSERT, a COMMIT and SQLAlchemy's own work. ``await oban.enqueue(spec)`` needs none of it:
the statement is its own transaction, on a connection of the node's. While one is in flight the next ones gather.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import cast

from .. import telemetry
from ..enqueueing.parameters import LARGEST_BYTES, insertion, size_of, take_written
from ..enqueueing.unit_of_work import watcher
from ..errors import DatabaseUnavailable, ObanError
from ..models import JobSpec
from .lanes.failure import StatementFailed
from .lanes.lane import Lane

LARGEST_BATCH = 1_000

_Waiting = tuple[Sequence[JobSpec], asyncio.Future[None]]


class Inserts:
    """Writes jobs as they come, in batches by themselves.

    A task per batch, not a loop that is woken for each: that saves a third of what an insert costs the client.

    :param lane: the connection to write on; it connects when the first job comes.
    :param written: called with the jobs that were committed.
    """

    def __init__(self, *, lane: Lane, written: Callable[[Sequence[JobSpec]], None]) -> None:
        # Given, and never written again.
        self.lane = lane
        self._written = written
        # Jobs that wait for the batch under way: written by insert(), taken by _write_waiting().
        self._waiting: deque[_Waiting] = deque()
        # The task that writes while there is something to write: written by insert() and at its own end.
        self._writing: asyncio.Task[None] | None = None

    async def insert(self, specs: Sequence[JobSpec]) -> None:
        """Commit `specs`: plain ones, with neither a key nor an argument that comes later.

        A caller that is cancelled leaves; its jobs are written all the same.

        :raises ObanError: when the database refused them.
        :raises DatabaseUnavailable: when the connection was lost, and whether they were committed is not known; or when
            the database can't be reached, and they were not. Its message says which.
        """
        future = asyncio.get_running_loop().create_future()
        with telemetry.span("oban.engine.insert_jobs", specs=specs):
            self._waiting.append((specs, future))
            if self._writing is None:
                self._writing = asyncio.create_task(self._write_waiting(), name="oban_sqla inserts")
            await future

    async def stop(self) -> None:
        """End when all that was asked for is written."""
        if self._writing is not None:
            await asyncio.wait([self._writing])

    async def _write_waiting(self) -> None:
        try:
            while self._waiting:
                batch: list[_Waiting] = []
                count = size = 0
                while self._waiting:
                    specs = self._waiting[0][0]
                    count, size = count + len(specs), size + size_of(specs)
                    if batch and (count > LARGEST_BATCH or size > LARGEST_BYTES):
                        break
                    batch.append(self._waiting.popleft())
                try:
                    await self._write(batch)
                except Exception as error:
                    _refuse(batch, error)
                except BaseException as error:  # the loop is being closed
                    _refuse([*batch, *self._waiting], error)
                    raise
        finally:
            self._writing = None

    async def _write(self, batch: list[_Waiting]) -> None:
        specs = [spec for given, _ in batch for spec in given]
        try:
            statement, parameters = insertion(specs)
        except Exception as error:  # of the program's function that gives the keys, for one of them
            await self._write_apart(batch, error)
            return
        try:
            rows = await self.lane.run_unshielded(statement, **parameters)
        except StatementFailed as error:
            if (error.is_too_large or not error.is_of_server) and not error.unknown:
                await self._write_apart(batch, _said(error))
            else:
                _refuse(batch, _said(error))
            return
        try:
            take_written(specs, rows[0] if rows else ())
        except ObanError as error:  # only of what is missing: the statement has been its own transaction
            raise ObanError(f"{error}. The others are committed") from None
        self._written(specs)
        for _, future in batch:
            if not future.done():
                future.set_result(None)

    async def _write_apart(self, batch: list[_Waiting], error: Exception) -> None:
        """Write again what is not written because of `error`: one is at fault, and only that one is to hear of it."""
        if len(batch) == 1:
            _refuse(batch, error)
            return
        for waiting in batch:
            await self._write([waiting])


def are_plain(specs: Sequence[object]) -> bool:
    """Whether :class:`Inserts` can write `specs`: few, no keys, nothing to fill in, none in a session or twice."""
    return (
        0 < len(specs) <= LARGEST_BATCH
        and watcher.get() is None
        and all(
            isinstance(spec, JobSpec) and spec.unique is None and not spec.waits and spec.session is None
            for spec in specs
        )
        and len(set(specs)) == len(specs)
        and size_of(cast(Sequence[JobSpec], specs)) <= LARGEST_BYTES
    )


def _refuse(batch: list[_Waiting], error: BaseException) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)


def _said(error: StatementFailed) -> ObanError:
    if error.unknown:
        return DatabaseUnavailable(f"the connection was lost; whether the jobs were written is not known ({error})")
    if not error.sent:
        return DatabaseUnavailable(f"the database can't be reached, none of the jobs was written ({error})")
    return ObanError(f"the database refused the jobs, none was written: {error}")
