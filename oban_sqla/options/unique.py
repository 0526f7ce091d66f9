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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, cast

from ..errors import InvalidOption
from ..types import JobState
from .canonical import jsonb_text, picker, read
from .duration import seconds
from .replacing import REPLACEABLE, WAITING, Replace, checked_debounce, checked_replace
from .spelling import spelled

Field = Literal["worker", "queue", "args", "meta"]
StateGroup = Literal["all", "incomplete", "scheduled", "successful", "waiting"]

FIELDS = ("worker", "queue", "args", "meta")
_INCOMPLETE = ("suspended", "available", "scheduled", "executing", "retryable")
GROUPS: Mapping[str, tuple[str, ...]] = {
    "all": tuple(JobState),
    "incomplete": _INCOMPLETE,
    "scheduled": ("scheduled",),
    "successful": (*_INCOMPLETE, "completed"),
    "waiting": WAITING,
}
_FIRST = {"available", "scheduled", "suspended"}
# One bit per state, in the order of the database's type.
BITS = {state.value: 1 << index for index, state in enumerate(JobState)}


@spelled
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
    :param states: the states in which a job counts, the new one and the existing one: ``"incomplete"`` (not finished),
        ``"waiting"`` (neither executing nor finished), ``"successful"`` (not finished, or completed), ``"scheduled"``,
        ``"all"``, or a sequence of states. One of them must be a state in which a new job can be. Default:
        ``"incomplete"``; with `debounce`, which allows no other states, ``"waiting"``.
    :param replace: what a duplicate changes in the existing job while that waits: a tuple of fields, or a dict of such
        tuples by the state of the existing job: ``{"scheduled": ("args", "scheduled_at")}``. The fields are ``args``,
        ``meta``, ``tags``, ``priority`` (which is only ever raised, to a lower number), ``max_attempts``, ``queue`` and
        ``scheduled_at``. Default None: nothing.
    :param debounce: seconds or a timedelta: the job is due that long after its last duplicate. Each one moves the
        waiting job; a job that executes has no duplicates, so what comes meanwhile is another job. Default None.
    :param debounce_max: seconds or a timedelta after the first call, beyond which no duplicate moves the job. Default
        None: no end.
    :ivar mask: the states as one bit each.
    :ivar replacing: by field, the states in which a duplicate replaces it, as one bit each.
    :raises InvalidOption: for an unknown field or state, an empty sequence, a time that is not above 0, or options that
        contradict each other: `debounce` with `period`, or with states in which a job does not wait.

    If two transactions insert the same job at once, the second waits for the first to end and then reports the
    conflict. It takes no lock on the existing row, unless there is something to replace or to move.
    """

    period: float | timedelta | None = None
    fields: Sequence[Field] = ("worker", "queue", "args")
    keys: Sequence[str] = ()
    states: StateGroup | Sequence[JobState | str] | None = None
    replace: Replace | None = dataclasses.field(default=None, hash=False)
    debounce: float | timedelta | None = None
    debounce_max: float | timedelta | None = None
    mask: int = dataclasses.field(init=False, repr=False, compare=False)
    """The states as a bit each, as ``oban_jobs.uniq_mask`` holds them."""
    replacing: Mapping[str, int] = dataclasses.field(init=False, repr=False, compare=False)
    """By field, the states in which a duplicate replaces it, as a bit each."""

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
        if self.states is None:
            object.__setattr__(self, "states", "incomplete" if self.debounce is None else "waiting")
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
        self._check_changes()

        # As they are now: lists could change after the key of a job was made, and can't be hashed.
        for choice in ("fields", "keys", "states"):
            if not isinstance(chosen := getattr(self, choice), str):
                object.__setattr__(self, choice, tuple(chosen))

    def _check_changes(self) -> None:
        by_state = checked_replace(self.replace, self.state_names)
        checked_debounce(self.debounce, self.debounce_max, by_state, self.period)
        if self.debounce is not None and (others := [state for state in self.state_names if state not in WAITING]):
            raise InvalidOption(
                f"Unique(states): with debounce a job counts while it waits, or what comes while it executes would be "
                f"lost; got {', '.join(others)}; leave states out"
            )
        if self.replace is not None:
            copy = dict(by_state) if isinstance(self.replace, Mapping) else tuple(self.replace)
            object.__setattr__(self, "replace", copy)
        replacing = {
            field: sum(BITS[state] for state, fields in by_state.items() if field in fields) for field in REPLACEABLE
        }
        object.__setattr__(self, "replacing", {field: mask for field, mask in replacing.items() if mask})

    @property
    def changes(self) -> int:
        """The states in which a duplicate changes the existing job, as a bit each."""
        mask = 0 if self.debounce is None else self.mask
        for states in self.replacing.values():
            mask |= states
        return mask

    @property
    def delay(self) -> float | None:
        """The seconds of the debounce; None without one."""
        return None if self.debounce is None else seconds(self.debounce, "Unique(debounce)")

    @property
    def longest_delay(self) -> float | None:
        """The seconds after the first call beyond which a debounce moves nothing; None without an end."""
        return None if self.debounce_max is None else seconds(self.debounce_max, "Unique(debounce_max)")

    @property
    def state_names(self) -> tuple[str, ...]:
        """The states in which a job counts."""
        if isinstance(self.states, str):
            return GROUPS[self.states]
        return tuple(str(state) for state in self.states or ())

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
        return self.maker(worker, queue, meta_json, due)(args_json)

    def maker(self, worker: str, queue: str, meta_json: str, due: int | None) -> Callable[[str], bytes]:
        """What makes the digest for jobs that differ in nothing but their args: a function of the args as JSON text.

        :param worker: the name of the worker.
        :param queue: the name of the queue.
        :param meta_json: the meta as JSON text.
        :param due: when the jobs are due, in microseconds since 1970. Only its period counts; None without one.
        :returns: a function that takes the args of one job.
        """
        # In the order that jsonb has for these keys.
        parts: list[str] = []
        if "meta" in self.fields:
            parts.append(f'"meta": {self._compared("args" not in self.fields)(meta_json)}')
        if "queue" in self.fields:
            parts.append(f'"queue": {jsonb_text(queue)}')
        if self.period is not None and due is not None:
            length = max(round(seconds(self.period, "Unique(period)") * 1_000_000), 1)
            parts.append(f'"period": [{length}, {due // length}]')
        if "worker" in self.fields:
            parts.append(f'"worker": {jsonb_text(worker)}')
        rest = ", ".join(parts)
        if "args" not in self.fields:
            digest = hashlib.sha256(f"{{{rest}}}".encode()).digest()[:16]
            return lambda args_json: digest
        end = f", {rest}}}" if rest else "}"
        compared = self._compared(True)

        def make(args_json: str) -> bytes:
            return hashlib.sha256(f'{{"args": {compared(args_json)}{end}'.encode()).digest()[:16]

        return make

    def _compared(self, is_keyed: bool) -> Callable[[str], str]:
        """What makes of JSON text the one that ``jsonb`` has, of the keys alone that are compared."""
        return picker(self.keys) if self.keys and is_keyed else lambda text: jsonb_text(read(text))


def _names(given: object) -> bool:
    """Whether it is a sequence of names, and not one name."""
    if isinstance(given, str) or not isinstance(given, Sequence):
        return False
    return all(isinstance(name, str) and name for name in cast(Sequence[object], given))
