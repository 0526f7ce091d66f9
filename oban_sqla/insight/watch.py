"""Follows jobs until they have finished, by reading them again and again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ..models.job import jobs
from ..statements.statement import in_states
from ..types import FINISHED, JobState
from .jobs import Filter, by_id

DELETED = "deleted"
"""The state of a watched job whose row is gone."""

_UNFINISHED = tuple(state.value for state in JobState if state not in FINISHED)
_COMPARED = ("state", "attempt", "queue")


async def unfinished(session: AsyncSession, chosen: Filter, limit: int) -> list[int]:
    """The ids of the `chosen` jobs that have not finished, the oldest first, at most `limit`."""
    conditions = [*chosen.conditions, in_states(jobs.c.state, *_UNFINISHED)]
    return list(await session.scalars(select(jobs.c.id).where(*conditions).order_by(jobs.c.id).limit(limit)))


@dataclass(frozen=True, slots=True)
class Step:
    """A change of a watched job between two looks.

    :ivar before: the job's summary at the last look; None at the first look.
    :ivar now: its summary now; the state is :data:`DELETED` when its row is gone.
    """

    before: Mapping[str, Any] | None
    now: Mapping[str, Any]


class Watch:
    """Jobs that are followed.

    :param ids: of the jobs.
    """

    def __init__(self, ids: Iterable[int]) -> None:
        self._last: dict[int, Mapping[str, Any] | None] = dict.fromkeys(ids)
        self.ended: dict[int, str] = {}
        """The states in which jobs ended, by id."""

    @property
    def unfinished(self) -> list[int]:
        """The ids of the jobs that have not ended yet."""
        return [id for id in self._last if id not in self.ended]

    async def look(self, session: AsyncSession) -> list[Step]:
        """The jobs that have changed since the last look; at the first look, all jobs.

        :raises LookupError: for an id that no job has at the first look; its argument is the id.
        """
        found = await by_id(session, self.unfinished)
        steps = [Step(self._last[id], self._now(id, found)) for id in self.unfinished]
        changed = [step for step in steps if _differs(step)]
        for step in changed:
            self._last[step.now["id"]] = step.now
            if step.now["state"] in (*FINISHED, DELETED):
                self.ended[step.now["id"]] = step.now["state"]
        return changed

    def _now(self, id: int, found: Mapping[int, Mapping[str, Any]]) -> Mapping[str, Any]:
        if id in found:
            return found[id]
        if (last := self._last[id]) is None:
            raise LookupError(id)
        return {**last, "state": DELETED}


def _differs(step: Step) -> bool:
    return step.before is None or any(step.before[name] != step.now[name] for name in _COMPARED)
