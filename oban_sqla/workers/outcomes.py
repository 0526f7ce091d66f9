"""The outcomes that a worker can return or raise: snooze, cancel, discard, record.

Returning and raising have the same effect; raising is for code deep inside a call.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal

from ..errors import InvalidOption, remade
from ..options.duration import seconds
from ..options.payload import encode
from ..options.spelling import spelled
from .parts import parts_of


class Outcome(Exception):
    """Base of the outcomes that a worker can return or raise."""

    def __reduce__(self) -> tuple[Any, ...]:
        return remade, (type(self), self.args), self.__dict__


def outcome_in(error: BaseException) -> Outcome | None:
    """The :class:`Outcome` that `error` is, or the first of those that a group of tasks has raised; None if anything
    else was raised."""
    parts = parts_of(error)
    outcomes = [one for one in parts if isinstance(one, Outcome)]
    return outcomes[0] if outcomes and len(outcomes) == len(parts) else None


@spelled
class Snooze(Outcome):
    """Run the job again later; the attempt does not count. Return or raise it.

    :param delay: seconds or a timedelta, 0 or more.
    :param suspend: what else must not start before then, on any node: ``"queue"``, all jobs of its queue, or
        ``"partition"``, the jobs of its key in a partitioned queue; in one without partitions, all jobs of the queue.
        For an answer like HTTP 429 from a service that these jobs call. Jobs that run go on. Default: nothing.
    :param meta: a dict whose keys replace those of the job's meta, for its next run: ``Snooze(60, meta={"page": 7})``.
        What was made of the meta before, such as the key of a partition or of a chain, stays. Default: no change.
    :raises InvalidOption: for a negative delay, or a value of another type.
    :raises InvalidArgs: for a meta that JSON can't represent.

    ``meta["snoozed"]`` counts the snoozes, as in Oban. A queue without limits is suspended within a second. Testing
    with :func:`~oban_sqla.testing.drain` or inline mode ignores `suspend`.
    """

    def __init__(
        self,
        delay: float | timedelta,
        suspend: Literal["queue", "partition"] | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        self.seconds = seconds(delay, "Snooze")
        if suspend not in (None, "queue", "partition"):
            raise InvalidOption(f'Snooze: suspend must be "queue" or "partition", got {suspend!r}')
        self.suspend = suspend
        self.meta: dict[str, Any] = {} if meta is None else json.loads(encode(meta, "Snooze: meta"))
        super().__init__(f"snoozed for {self.seconds:g} s")


class _Reasoned(Outcome):
    def __init__(self, reason: object = None) -> None:
        self.reason = "" if reason is None else str(reason)
        super().__init__(self.reason)


@spelled
class Cancel(_Reasoned):
    """Cancel the job. It becomes ``cancelled``, with the reason among its errors. Return or raise it.

    :param reason: stored as ``str(reason)``. Default: none.
    """


@spelled
class Discard(_Reasoned):
    """Fail without a retry. The job becomes ``discarded``, with the reason among its errors. Return or raise it.

    :param reason: stored as ``str(reason)``. Default: none.
    """


@spelled
class Record(Outcome):
    """Complete the job and keep a value in ``meta["return"]``. Return or raise it.

    :param value: a value that JSON can represent, up to 64 MiB as JSON; with any other value the run fails.
    """

    def __init__(self, value: Any) -> None:
        self.value = value
        super().__init__("recorded")
