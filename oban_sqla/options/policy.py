"""What duties with policies have in common: for which jobs a policy is, that they come in a list, and the interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

from ..errors import InvalidOption
from ..types import JobState, worker_name_of
from .duration import seconds

Names = str | Sequence[str]
"""One name, or several."""

P = TypeVar("P", bound="JobPolicy")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPolicy:
    """A policy for the jobs of some queues and workers.

    :param queue: applies to jobs of this queue, or of several. Default: all.
    :param worker: applies to jobs of this worker (or its name), or of several. Default: all.
    """

    queue: Names | None = None
    worker: Any = None

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues to which the policy applies; empty for all."""
        return names(self.queue)

    @property
    def workers(self) -> tuple[str, ...]:
        """The names of the workers to which the policy applies; empty for all."""
        return names(self.worker)

    def is_for(self, queue: str, worker: str) -> bool:
        """Whether the policy applies to a job.

        :param queue: the queue of the job.
        :param worker: the name of its worker.
        """
        return (not self.queues or queue in self.queues) and (not self.workers or worker in self.workers)


def names(given: Any) -> tuple[str, ...]:
    """What was given, as names: none for None, one or several, that of each worker or state."""
    if given is None:
        return ()
    several = cast(Sequence[Any], given) if isinstance(given, list | tuple | set | frozenset) else (given,)
    return tuple(worker_name_of(one) or (str(one) if isinstance(one, JobState) else one) for one in several)


def check_names(policy: object, what: str, *options: str) -> None:
    """Check that each of these options of a policy is None, a name, or several.

    :param what: the class, for the message.
    :raises InvalidOption: for anything else, and for an empty list.
    """
    for option in options:
        given = getattr(policy, option)
        found: tuple[object, ...] = names(given)
        if not found and given is not None:
            raise InvalidOption(f"{what}({option}): expected a name or several, got none (for all: leave it out)")
        for name in found:
            if not isinstance(name, str) or not name.strip():
                raise InvalidOption(f"{what}({option}): expected a name or several, got {name!r}")


def checked_policies(given: object, of: type[P], what: str) -> tuple[P, ...]:
    """The policies of a duty, as a tuple.

    :param of: what each has to be.
    :param what: the class that has them, for the message.
    :raises InvalidOption: for anything else.
    """
    policies = tuple(cast(Sequence[object], given)) if isinstance(given, list | tuple) else (given,)
    for policy in policies:
        if not isinstance(policy, of):
            raise InvalidOption(f"{what}: policies must be {what}.Policy(…), in a list, got {policy!r}")
    return cast(tuple[P, ...], policies)


def between(given: float | timedelta, what: str) -> float:
    """The seconds between two rounds of a duty.

    :param given: its `interval`.
    :param what: the class that has it, for the message.
    :raises InvalidOption: for anything but a time above 0.
    """
    if not (interval := seconds(given, f"{what}(interval)")) > 0:
        raise InvalidOption(f"{what}: interval must be seconds above 0, got {given!r}")
    return interval
