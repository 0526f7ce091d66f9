"""Where the steps of jobs are kept, as the ledger of a run sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ...statements.statement import Statement
from ...statements.steps import await_signal, fall_asleep, mark, steps_and_signal, steps_of

STATEMENTS = {one.name: one for one in (steps_of, mark, fall_asleep, await_signal, steps_and_signal)}
"""What a ledger asks of a store, by name. Each may be repeated when its answer was lost."""

STEP, SLEEP, WAIT, SIGNAL, TIMEOUT = "step", "sleep", "wait", "signal", "timeout"
"""The kinds of entries. A wait becomes a signal, or a timeout."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A step that is done, or a sleep or a wait that has begun.

    :ivar value: what the step has returned, or the payload of the signal, as JSON text.
    :ivar rest: seconds until the sleep ends, or until the deadline of the wait; None for none.
    """

    kind: str
    value: str | None
    rest: float | None


class Store(Protocol):
    """Keeps the steps of jobs."""

    @property
    def lives(self) -> bool:
        """Whether a job may wait here with its slot in hand; else it goes to sleep at once."""
        ...

    @property
    def blocking(self) -> Store:
        """The store of plain functions: its methods block instead of suspending."""
        ...

    async def run(self, statement: Statement, /, **parameters: Any) -> Sequence[Any]:
        """Execute one of :data:`STATEMENTS` in its own transaction.

        :returns: the rows.
        :raises ObanError: when the database refuses it, or does not answer.
        """
        ...

    async def heard(self, job_id: int, seconds: float) -> None:
        """Return when a signal may have been sent to the job, at the latest after `seconds`."""
        ...
