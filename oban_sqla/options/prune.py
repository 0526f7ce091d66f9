"""Which finished jobs are deleted, and when."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar, cast

from ..errors import InvalidOption
from ..types import FINISHED, JobState
from .duration import seconds
from .policy import JobPolicy, Names, between, check_names, checked_policies, names
from .spelling import spelled

DAY = 86_400.0
LARGEST_BATCH = 10_000

STATES = tuple(state.value for state in JobState if state in FINISHED)
"""The states of finished jobs; in no other one is a job ever pruned."""


@spelled
@dataclass(frozen=True, slots=True, kw_only=True)
class PrunePolicy(JobPolicy):
    """How long some of the finished jobs are kept; also available as ``Prune.Policy(…)``.

    :param state: applies to jobs in these states: ``"completed"``, ``"cancelled"``, ``"discarded"``, or several.
        Default: all three.
    :param queue: applies to jobs of this queue, or of several. Default: all.
    :param worker: applies to jobs of this worker (or its name), or of several. Default: all.
    :param max_age: seconds or a timedelta: jobs that finished longer ago are deleted. ``math.inf``: never.
        Default: the age does not count.
    :param max_count: the number of jobs to keep per state, the newest; others are deleted. The pruner finds them by
        reading the finished jobs from the newest on, so use it only for jobs that are not rare. Default: the number
        does not count.
    :raises InvalidOption: for a value out of range, or if both `max_age` and `max_count` are missing.
    """

    state: Names | None = None
    max_age: float | timedelta | None = None
    max_count: int | None = None

    def __post_init__(self) -> None:
        check_names(self, "Prune.Policy", "state", "queue", "worker")
        if bad := [state for state in self.states if state not in STATES]:
            raise InvalidOption(f"Prune.Policy(state): expected one of {', '.join(STATES)}, got {bad[0]!r}")
        if self.max_age is None and self.max_count is None:
            raise InvalidOption(
                "Prune.Policy: max_age or max_count is missing; to keep these jobs forever, give max_age=math.inf"
            )
        _age(self.max_age, "Prune.Policy(max_age)")
        if self.max_count is not None and (isinstance(self.max_count, bool) or not isinstance(self.max_count, int)):
            raise InvalidOption(f"Prune.Policy: max_count must be a number of jobs, got {self.max_count!r}")
        if self.max_count is not None and self.max_count < 0:
            raise InvalidOption(f"Prune.Policy: max_count must be 0 or more, got {self.max_count!r}")

    @property
    def states(self) -> tuple[str, ...]:
        """The states to which the policy applies."""
        return names(self.state) or STATES

    @property
    def age(self) -> float | None:
        """Seconds; None when age does not count."""
        return _age(self.max_age, "Prune.Policy(max_age)")


@spelled
@dataclass(frozen=True, slots=True)
class Prune:
    """When finished jobs are deleted: ``Prune(max_age=7 * 86400, policies=[Prune.Policy(queue="beat", max_age=60)])``.

    The first policy that applies to a job decides, and no other; `max_age` is for jobs to which no policy applies. A
    workflow or batch is deleted whole, `max_age` after it has finished; no policy applies to its jobs. (The policies
    are those of Oban Pro's DynamicPruner, in one list instead of three.)

    :param max_age: seconds or a timedelta. Default: one day. ``math.inf``: never.
    :param policies: a sequence of :class:`PrunePolicy`. Default: none.
    :param interval: seconds or a timedelta between two rounds, more than 0. A round continues while there are jobs to
        delete. Default 60.
    :param limit: the number of jobs that one statement deletes, 1 to 10,000. Default 10,000.
    :raises InvalidOption: for a value out of range.
    """

    Policy: ClassVar[type[PrunePolicy]] = PrunePolicy

    max_age: float | timedelta = DAY
    policies: Sequence[PrunePolicy] = ()
    interval: float | timedelta = 60.0
    limit: int = LARGEST_BATCH

    def __post_init__(self) -> None:
        if cast(object, self.max_age) is None:
            raise InvalidOption("Prune: max_age must be seconds or a timedelta; Oban(prune=None) turns pruning off")
        _age(self.max_age, "Prune(max_age)")
        object.__setattr__(self, "policies", checked_policies(self.policies, PrunePolicy, "Prune"))
        between(self.interval, "Prune")
        if not isinstance(self.limit, int) or isinstance(self.limit, bool) or not 1 <= self.limit <= LARGEST_BATCH:
            raise InvalidOption(
                f"Prune: limit must be a number of jobs from 1 to {LARGEST_BATCH:,}, got {self.limit!r}"
            )

    @property
    def age(self) -> float:
        """After how many seconds what no policy is about is deleted; infinite for never."""
        limit = _age(self.max_age, "Prune(max_age)")
        return math.inf if limit is None else limit

    @property
    def seconds_between(self) -> float:
        """Seconds between two rounds."""
        return between(self.interval, "Prune")

    @property
    def all_policies(self) -> tuple[PrunePolicy, ...]:
        """The policies, and at the end the one for all other jobs."""
        return (*self.policies, PrunePolicy(max_age=self.max_age))


def _age(given: float | timedelta | None, what: str) -> float | None:
    """`given` in seconds; None for no limit."""
    if given is None or given == float("inf"):
        return None
    return seconds(given, what)
