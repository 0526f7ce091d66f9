"""One call of a function for many jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...models import Job
from ...workers.chunked import ChunkArguments
from ...workers.worker import Worker
from ..row import Row
from .call import Call


class ChunkCall(Call):
    """One call of a worker for the jobs of a chunk. It runs in this process.

    :param worker: what to call.
    :param rows: the jobs as they were fetched.
    """

    __slots__ = ("rows",)

    def __init__(self, worker: Worker, rows: Sequence[Row]) -> None:
        super().__init__(worker, rows[0])
        self.rows = rows

    def begin(self) -> Any:
        arguments = self.worker.arguments
        assert isinstance(arguments, ChunkArguments)
        given: dict[str, Any] = {arguments.jobs_parameter: [row.job for row in self.rows]}
        for name, kind in arguments.injected.items():
            given[name] = self.row.job if kind is Job else self.injected[name]
        return self.worker.target(**given)
