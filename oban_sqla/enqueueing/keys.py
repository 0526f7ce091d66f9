"""What is known of specs only when they are written: arguments that are filled in, and the keys of unique jobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from ..models import JobSpec
from ..models.kind import Kind
from ..options.instance import Refer
from ..options.unique import Unique
from ..workers.registry import workers
from .composed import is_chained

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def fill(specs: Sequence[JobSpec], refer: Refer) -> None:
    """Call the functions of `later`, and take the keys of instances.

    :param refer: takes the key of one.
    :raises InvalidArgs: for what they raise, and for what does not fit the worker.
    """
    if any(spec.waits for spec in specs):
        for spec in specs:
            spec.without_id(True)
        try:
            for spec in specs:
                spec.fill(refer)
        finally:
            for spec in specs:
                spec.without_id(False)


def keys_of(specs: Sequence[JobSpec], clock: Callable[[], datetime]) -> dict[int, bytes]:
    """The keys of the unique jobs among `specs`, by the identity of the spec.

    :param clock: gives the time of the transaction by the database's clock. Asked once, if at all.
    :raises InvalidOption: for a key by which jobs of a worker of this process can't be compared.
    """
    keys: dict[int, bytes] = {}
    now: datetime | None = None
    last: Kind | None = None
    checked: Kind | None = None
    make: Callable[[str], bytes] | None = None
    for spec in specs:
        if make is not None and spec.kind is last:  # thousands in a row differ in their args
            keys[id(spec)] = make(spec.args_json)
            continue
        if (unique := spec.unique) is None:
            continue
        if spec.kind is not checked:
            _refuse_keys(spec)
            checked = spec.kind
        if now is None and _needs_clock(unique, spec):
            now = clock()
        if unique.counts("suspended" if is_chained(spec) else _state(spec, now)):
            due = spec.scheduled_at if spec.scheduled_at is not None or now is None else now + _delay(spec)
            make = unique.maker(spec.worker, spec.queue, spec.meta_json, None if due is None else _micros(due))
            keys[id(spec)] = make(spec.args_json)
            last = spec.kind
    return keys


def _refuse_keys(spec: JobSpec) -> None:
    # A spec may have been made with the worker's name alone.
    if (worker := workers.get(spec.worker)) is not None:
        worker.refuse_unique(spec.kind)


def _needs_clock(unique: Unique, spec: JobSpec) -> bool:
    if spec.scheduled_at is None:
        return unique.period is not None
    return unique.counts("scheduled") is not unique.counts("available")


def _state(spec: JobSpec, now: datetime | None) -> str:
    """In which it will be inserted. In a state that doesn't count the job neither has a duplicate nor is one."""
    if spec.scheduled_at is None:
        return "scheduled" if _delay(spec) else "available"
    return "scheduled" if now is None or spec.scheduled_at > now else "available"


def _delay(spec: JobSpec) -> timedelta:
    return timedelta(seconds=spec.schedule_in or 0.0)


def _micros(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND
