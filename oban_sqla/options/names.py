"""Names of queues, workers and states by which a policy says for which jobs it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from ..errors import InvalidOption
from ..types import JobState, worker_name_of

Names = str | Sequence[str]
"""One name, or several."""


def names(given: Any) -> tuple[str, ...]:
    """What was given, as names: none for None, one or several, that of each worker or state."""
    if given is None:
        return ()
    several = cast(Sequence[Any], given) if isinstance(given, list | tuple | set | frozenset) else (given,)
    return tuple(worker_name_of(one) or (str(one) if isinstance(one, JobState) else one) for one in several)


def check_names(given: Any, what: str) -> None:
    """Check that `given` is None, a name, or several.

    :param what: the option, for the message.
    :raises InvalidOption: for anything else, and for an empty list.
    """
    found: tuple[object, ...] = names(given)
    if not found and given is not None:
        raise InvalidOption(f"{what}: expected a name or several, got none (for all: leave it out)")
    for name in found:
        if not isinstance(name, str) or not name.strip():
            raise InvalidOption(f"{what}: expected a name or several, got {name!r}")


def applies(queues: Sequence[str], workers: Sequence[str], queue: str, worker: str) -> bool:
    """Whether a policy for these queues and workers, where none are all, is for a job of `queue` and `worker`."""
    return (not queues or queue in queues) and (not workers or worker in workers)
