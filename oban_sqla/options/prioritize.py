"""Which jobs become more urgent while they wait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from ..errors import InvalidOption
from .duration import seconds
from .policy import JobPolicy, between, check_names, checked_policies
from .spelling import spelled

LEAST_URGENT = 9
"""The largest priority of a job."""


@spelled
@dataclass(frozen=True, slots=True, kw_only=True)
class PrioritizePolicy(JobPolicy):
    """How long some jobs wait before they become more urgent; also available as ``Prioritize.Policy(…)``.

    :param queue: applies to jobs of this queue, or of several. Default: all.
    :param worker: applies to jobs of this worker (or its name), or of several. Default: all.
    :param after: seconds or a timedelta that a job is available before its priority is raised. ``math.inf``: it never
        is.
    :raises InvalidOption: for a value out of range.
    """

    after: float | timedelta

    def __post_init__(self) -> None:
        check_names(self, "Prioritize.Policy", "queue", "worker")
        _after(self.after, "Prioritize.Policy(after)")

    @property
    def wait(self) -> float | None:
        """Seconds; None for never."""
        return _after(self.after, "Prioritize.Policy(after)")


@spelled
@dataclass(frozen=True, slots=True)
class Prioritize:
    """Jobs of a low priority become more urgent while they wait: ``Oban(engine, prioritize=Prioritize(after=300))``.

    Without it, jobs of priority 9 wait for as long as there are more urgent ones. Once in each `interval` the leader
    takes one from the priority of every job that has been available for longer than `after`, so a job of priority 3 is
    among the most urgent ones after `after` and two intervals more. The first policy that applies to a job decides, and
    no other. (The idea and the times are those of Oban Pro's DynamicPrioritizer.)

    :param after: seconds or a timedelta that a job is available before its priority is raised for the first time. For
        jobs to which no policy applies. Default 300. ``math.inf``: never.
    :param highest: the priority, 0 to 8, above which none is raised: with 2, priorities 0 and 1 are left to jobs that
        were enqueued with them. Default 0, the most urgent.
    :param policies: a sequence of :class:`PrioritizePolicy`. Default: none.
    :param interval: seconds or a timedelta between two rounds, more than 0. Default 60.
    :param limit: the most jobs that a round raises, at least 1, those of the most urgent priority first. Default
        10,000.
    :raises InvalidOption: for a value out of range.
    """

    Policy: ClassVar[type[PrioritizePolicy]] = PrioritizePolicy

    after: float | timedelta = 300.0
    highest: int = 0
    policies: Sequence[PrioritizePolicy] = ()
    interval: float | timedelta = 60.0
    limit: int = 10_000

    def __post_init__(self) -> None:
        _after(self.after, "Prioritize(after)")
        object.__setattr__(self, "policies", checked_policies(self.policies, PrioritizePolicy, "Prioritize"))
        between(self.interval, "Prioritize")
        _check_whole(self.highest, "highest", "a priority from 0 to 8", 0, LEAST_URGENT - 1)
        _check_whole(self.limit, "limit", "a number of jobs, 1 or more", 1)

    @property
    def all_policies(self) -> tuple[PrioritizePolicy, ...]:
        """The policies, and at the end the one for all other jobs."""
        return (*self.policies, PrioritizePolicy(after=self.after))

    @property
    def seconds_between(self) -> float:
        """Seconds between two rounds."""
        return between(self.interval, "Prioritize")

    def wait(self, queue: str, worker: str) -> float | None:
        """Seconds that a job is available before it becomes more urgent; None for never.

        :param queue: the queue of the job.
        :param worker: the name of its worker.
        """
        return next(one.wait for one in self.all_policies if one.is_for(queue, worker))


def _after(given: float | timedelta, what: str) -> float | None:
    """`given` in seconds; None for never."""
    return None if given == float("inf") else seconds(given, what)


def _check_whole(given: object, option: str, expected: str, least: int, most: float = float("inf")) -> None:
    if not isinstance(given, int) or isinstance(given, bool) or not least <= given <= most:
        raise InvalidOption(f"Prioritize: {option} must be {expected}, got {given!r}")
