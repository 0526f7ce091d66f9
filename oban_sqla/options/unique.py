"""Unique jobs: what makes two jobs the same, and for how long.

The key of a job is a digest of the chosen fields. It is in a plain column under a unique index for as long as the
job is in one of the chosen states; a trigger clears it when the job leaves them, and nothing ever puts it back. So no
retry, rescue or staging can collide with a newer job. (River's way of keeping uniqueness in an index, with the key
given up for good on leaving.)

SQL can compute the key, too: ``substring(sha256(convert_to(fields::text, 'UTF8')), 1, 16)``, where `fields` is the
``jsonb`` of the compared fields, for the default ones ``jsonb_build_object('worker', worker, 'queue', queue, 'args',
args)``. With keys its args are ``jsonb_build_object('id', args->'id')``. With a period of a minute it also has
``'period', jsonb_build_array(60000000, floor(extract(epoch FROM due) * 1000000 / 60000000))``, both in microseconds.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, cast

from ..errors import InvalidOption
from ..types import JobState
from .canonical import jsonb_text, read
from .duration import seconds

Field = Literal["worker", "queue", "args", "meta"]
StateGroup = Literal["all", "incomplete", "scheduled", "successful"]

FIELDS = ("worker", "queue", "args", "meta")
_INCOMPLETE = ("suspended", "available", "scheduled", "executing", "retryable")
GROUPS: Mapping[str, tuple[str, ...]] = {
    "all": tuple(JobState),
    "incomplete": _INCOMPLETE,
    "scheduled": ("scheduled",),
    "successful": (*_INCOMPLETE, "completed"),
}
_FIRST = {"available", "scheduled", "suspended"}
# One bit a state, in the order of the database's type.
BITS = {state.value: 1 << index for index, state in enumerate(JobState)}


@dataclass(frozen=True, slots=True)
class Unique:
    """Insert a job only if there is no duplicate of it: ``@job(unique=Unique(period=60))``.

    A duplicate is an answer, not an error: the spec gets the id and the state of the existing job, and
    ``spec.conflict`` is True.

    :param period: seconds or a timedelta: jobs due in the same period are duplicates. Periods are fixed on the clock:
        with ``period=3600``, jobs of 10:05 and 10:59 are duplicates, jobs of 10:59 and 11:01 are not. The time at which
        a job is due counts, not the time at which it is enqueued. Default None: a job has duplicates for as long as it
        is in one of `states`.
    :param fields: which of ``worker``, ``queue``, ``args``, ``meta`` must be equal. Default: the first three.
    :param keys: compare only these keys of ``args`` (or of ``meta``, if ``args`` is not among `fields`); a missing key
        counts as null. Default: all keys.
    :param states: the states in which a job counts, the new one and the existing one: ``"incomplete"`` (not finished;
        the default), ``"successful"`` (those and completed), ``"scheduled"``, ``"all"``, or a sequence of states. One
        of them must be a state in which a new job can be.
    :ivar mask: the states as one bit each.
    :raises InvalidOption: for an unknown field or state, an empty sequence, or a period that is not above 0.

    If two transactions insert the same job at once, the second waits for the first to end and then reports the
    conflict. It takes no lock on the existing row.
    """

    period: float | timedelta | None = None
    fields: Sequence[Field] = ("worker", "queue", "args")
    keys: Sequence[str] = ()
    states: StateGroup | Sequence[JobState | str] = "incomplete"
    mask: int = dataclasses.field(init=False, repr=False, compare=False)
    """The states as a bit each, as ``oban_jobs.uniq_mask`` holds them."""

    def __post_init__(self) -> None:
        if self.period is not None and not seconds(self.period, "Unique(period)") > 0:
            raise InvalidOption(
                f"Unique(period): expected more than 0 seconds, or None for no end, got {self.period!r}"
            )
        if not _names(self.fields) or not set(self.fields) <= set(FIELDS) or not self.fields:
            raise InvalidOption(f"Unique(fields): expected some of {', '.join(FIELDS)}, got {self.fields!r}")
        if not _names(self.keys):
            raise InvalidOption(f"Unique(keys): expected a sequence of names, got {self.keys!r}")
        if self.keys and not {"args", "meta"} & set(self.fields):
            raise InvalidOption(
                f"Unique(keys): keys choose from args or meta, but neither is among the fields {list(self.fields)!r}"
            )
        if isinstance(self.states, str) and self.states not in GROUPS:
            raise InvalidOption(
                f"Unique(states): expected one of {', '.join(GROUPS)}, or a list of states, got {self.states!r}"
            )
        if not (isinstance(self.states, str) or _names(self.states)) or not set(self.state_names) <= set(BITS):
            raise InvalidOption(f"Unique(states): expected some of {', '.join(BITS)}, got {self.states!r}")
        if not _FIRST & set(self.state_names):
            raise InvalidOption(
                f"Unique(states): a new job is {', '.join(sorted(_FIRST))}; without one of these it would never be "
                f"unique, got {self.states!r}"
            )
        object.__setattr__(self, "mask", sum(BITS[name] for name in set(self.state_names)))

        # As they are now: lists could change after the key of a job was made, and can't be hashed.
        for choice in ("fields", "keys", "states"):
            if not isinstance(chosen := getattr(self, choice), str):
                object.__setattr__(self, choice, tuple(chosen))

    @property
    def state_names(self) -> tuple[str, ...]:
        """The states in which a job counts."""
        return GROUPS[self.states] if isinstance(self.states, str) else tuple(str(state) for state in self.states)

    def counts(self, state: str) -> bool:
        """Whether a job in a state counts as a duplicate.

        :param state: the state.
        """
        return bool(self.mask & BITS[state])

    def key(self, worker: str, queue: str, args_json: str, meta_json: str, due: int | None) -> bytes:
        """The digest of the compared fields: sixteen bytes. It is stored twice, so it is short.

        :param worker: the name of the worker.
        :param queue: the name of the queue.
        :param args_json: the args as JSON text.
        :param meta_json: the meta as JSON text.
        :param due: when the job is due, in microseconds since 1970. Only its period counts; None without one.
        """
        # In the order that jsonb has for these keys.
        parts: list[str] = []
        keyed = "args" if "args" in self.fields else "meta"
        for field, text in (("args", args_json), ("meta", meta_json)):
            if field in self.fields:
                value = read(text)
                if self.keys and field == keyed:
                    value = {key: value.get(key) for key in self.keys}
                parts.append(f'"{field}": {jsonb_text(value)}')
        if "queue" in self.fields:
            parts.append(f'"queue": {jsonb_text(queue)}')
        if self.period is not None and due is not None:
            length = max(round(seconds(self.period, "Unique(period)") * 1_000_000), 1)
            parts.append(f'"period": [{length}, {due // length}]')
        if "worker" in self.fields:
            parts.append(f'"worker": {jsonb_text(worker)}')
        text = "{" + ", ".join(parts) + "}"
        return hashlib.sha256(text.encode()).digest()[:16]


def _names(given: object) -> bool:
    """Whether it is a sequence of names, and not one name."""
    if isinstance(given, str) or not isinstance(given, Sequence):
        return False
    return all(isinstance(name, str) and name for name in cast(Sequence[object], given))
