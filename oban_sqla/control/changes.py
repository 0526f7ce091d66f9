"""The changes that operators ask for: cancel, retry and delete. To which jobs each applies, and why not to others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import ColumnElement, not_

from ..models.job import jobs
from ..statements.change import RETRIED, WAITING
from ..statements.statement import in_states
from ..types import JobState
from .jobs import Target


class Changer(Protocol):
    """What carries changes out: an :class:`Oban`."""

    async def cancel(self, target: Target, /) -> int: ...
    async def retry(self, target: Target, /) -> int: ...
    async def delete(self, target: Target, /) -> int: ...


@dataclass(frozen=True, slots=True)
class Change:
    """A change of jobs.

    :param name: of the change, as a verb: ``"cancel"``.
    :param done: what the changed jobs are, for people: ``"cancelled"``.
    :param states: in which it changes jobs.
    :param make: makes the change of the target, and returns how many jobs were changed.
    :param hints: what to say about a job that is left as it is, by its state.
    :param unless: which jobs in these states are left as they are, too.
    """

    name: str
    done: str
    states: tuple[str, ...]
    make: Callable[[Changer, Target], Awaitable[int]]
    hints: Mapping[str, str]
    unless: ColumnElement[bool] | None = None

    @property
    def conditions(self) -> list[ColumnElement[bool]]:
        """Which jobs it changes, for ``select(Job).where(*conditions)``."""
        exception = [] if self.unless is None else [not_(self.unless)]
        return [in_states(jobs.c.state, *self.states), *exception]

    def refusal(self, state: str | None) -> str:
        """Why a job in `state` was not changed; None for a job that does not exist."""
        if state is None:
            return "there is no such job"
        hint = self.hints.get(state)
        return f"it is {state}" if hint is None else f"it is {state}; {hint}"


CANCEL = Change(
    "cancel",
    "cancelled, or asked to stop",
    (*WAITING, "executing"),
    lambda changer, target: changer.cancel(target),
    {"executing": "it has been asked to stop already"},
    unless=in_states(jobs.c.state, "executing") & jobs.c.cancel_at.is_not(None),
)
RETRY = Change(
    "retry",
    "available again",
    RETRIED,
    lambda changer, target: changer.retry(target),
    {
        "available": "it runs as soon as a node has room for it",
        "executing": "it runs now",
        "suspended": "it waits for other jobs",
    },
)
DELETE = Change(
    "delete",
    "deleted",
    tuple(state.value for state in JobState if state != JobState.EXECUTING),
    lambda changer, target: changer.delete(target),
    {"executing": "cancel it first"},
)
