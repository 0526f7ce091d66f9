"""How much of a queue runs at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from ..errors import InvalidOption


@dataclass(frozen=True, slots=True)
class Queue:
    """The options of a queue on a node.

    :param limit: the number of its jobs that this node runs at once, 1 to 10,000. Default 10.
    :param paused: start without fetching. Default False.
    :param prefetch: jobs to fetch beyond `limit`, 0 to 10,000, so that short jobs don't wait for a round trip. Never
        more than run during one round trip; returned if not started within 0.5 s, or if the queue is paused or
        stopped. Fetched jobs are ``executing``. Default 0: a job is fetched only when it can start.
    :raises InvalidOption: for a value out of range.
    """

    limit: int = 10
    paused: bool = False
    prefetch: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.limit, int) or isinstance(self.limit, bool) or not 1 <= self.limit <= 10_000:  # pyright: ignore
            raise InvalidOption(f"Queue: limit must be a number of jobs from 1 to 10,000, got {self.limit!r}")
        if not isinstance(self.prefetch, int) or isinstance(self.prefetch, bool) or not 0 <= self.prefetch <= 10_000:
            raise InvalidOption(f"Queue: prefetch must be a number of jobs from 0 to 10,000, got {self.prefetch!r}")


def checked_queues(given: object) -> dict[str, Queue]:
    """What a user gave as ``queues=``.

    :raises InvalidOption: for anything but a mapping of names to limits or queues.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InvalidOption(
            f'queues: expected names with their limits, such as {{"default": 10}} or {{"default": Queue(…)}}, got '
            f"{given!r}"
        )
    return {str(name): as_queue(name, of) for name, of in cast(Mapping[object, object], given).items()}


def as_queue(name: object, given: object) -> Queue:
    """A value of ``queues={name: …}`` as a :class:`Queue`; a number is its limit.

    :raises InvalidOption: for a blank name, or a limit below 1.
    """
    if not isinstance(name, str) or not name.strip():
        raise InvalidOption(f"queues: expected the name of a queue, got {name!r}")
    if isinstance(given, Queue):
        return given
    if isinstance(given, int) and not isinstance(given, bool) and given >= 1:
        return Queue(limit=given)
    raise InvalidOption(f"queue {name!r}: expected a limit of 1 or more, or Queue(…), got {given!r}")
