"""The filters of an assertion as SQL, and the differences of a job that does not match as text."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

from pydantic_core import PydanticSerializationError, to_jsonable_python
from sqlalchemy import ColumnElement, or_
from typing_extensions import TypedDict

from ..errors import InvalidArgs, InvalidOption, KeyMissing, refuse_unknown
from ..models import Job
from ..models.checks import check_name, integer
from ..models.spec import WorkerLike
from ..options.duration import seconds
from ..options.encryption import MARK, is_sealed
from ..options.instance import referred, state_of
from ..options.key_form import KeyForm
from ..options.payload import encode_value
from ..types import JobState, worker_name_of
from ..workers.registry import workers
from ..workers.sealing import opened_value

ENQUEUED = (JobState.AVAILABLE, JobState.SCHEDULED, JobState.SUSPENDED)
"""The states that count as enqueued unless a filter names others: written, and not run yet."""

DELTA = 5.0


class Filters(TypedDict, total=False):
    """The filters of the assertions."""

    worker: str | WorkerLike | type[Any]  # mypy knows a class worker only as the class
    queue: str
    args: Mapping[str, Any]
    meta: Mapping[str, Any]
    tags: Sequence[str]
    priority: int
    state: JobState | str | Sequence[JobState | str]
    scheduled_at: datetime
    delta: float | timedelta


class Wanted:
    """Checked filters.

    :param what: the name of the public function, for errors.
    :raises InvalidOption: for a misspelt filter, or a value that it can't have.
    :raises InvalidArgs: for args or meta that JSON can't carry.
    """

    def __init__(self, filters: Filters, what: str) -> None:
        refuse_unknown(filters, Filters.__annotations__, f"{what}()")
        self._delta = seconds(filters.get("delta", DELTA), f"{what}: delta")
        self.values: dict[str, Any] = {
            name: _CHECKED[name](value, f"{what}: {name}") if name in _CHECKED else value
            for name, value in filters.items()
            if name != "delta"
        }
        self._given = list(self.values)
        self.values.setdefault("state", list(ENQUEUED))
        if "delta" in filters and "scheduled_at" not in filters:
            raise InvalidOption(f"{what}: delta needs scheduled_at")

    @property
    def conditions(self) -> dict[str, ColumnElement[bool]]:
        """The conditions of the filters, by their names."""
        return {name: self._condition(name, value) for name, value in self.values.items()}

    def _condition(self, name: str, value: Any) -> ColumnElement[bool]:
        match name:
            case "args" if workers.encrypted:  # no SQL can compare what is encrypted, see fits()
                return or_(Job.args.contains(value), Job.args.has_key(MARK))
            case "args" | "meta" | "tags":
                return cast(ColumnElement[bool], getattr(Job, name).contains(value))
            case "state":
                return Job.state.in_(value)
            case "scheduled_at":
                tolerance = timedelta(seconds=self._delta)
                return Job.scheduled_at.between(value - tolerance, value + tolerance)
            case _:
                return cast(ColumnElement[bool], getattr(Job, name) == value)

    def fits(self, job: Job) -> bool:
        """Whether the args of `job` are those that are wanted, where they are encrypted."""
        return "args" not in self.values or not is_sealed(job.args) or _contains(_plain(job), self.values["args"])

    def __str__(self) -> str:
        said = ", ".join(f"{name}={_short(self._shown(name))}" for name in self._given)
        return f" with {said}" if said else ""

    def _shown(self, name: str) -> Any:
        value = self.values[name]
        if name == "state":
            return str(value[0]) if len(value) == 1 else [str(state) for state in value]
        return str(value) if name == "scheduled_at" else value

    def difference(self, job: Job, name: str) -> str:
        """How `job` differs from what the filter `name` wants."""
        value, actual = self.values[name], _plain(job) if name == "args" else getattr(job, name)
        match name:
            case "args" | "meta":
                return "; ".join(_json_differences(value, actual, name)) or f"{name} is {_short(actual)}"
            case "tags":
                missing = [tag for tag in value if tag not in actual]
                return f"tags are {_short(list(actual))}, without {_short(missing)}"
            case "state":
                return f"it is {actual}"
            case "scheduled_at":
                off = (actual - value).total_seconds()
                return f"scheduled_at is {actual}, {abs(off):g} s {'later' if off > 0 else 'earlier'}"
            case _:
                return f"{name} is {_short(actual)}"


def _plain(job: Job) -> Any:
    """The args of `job`, decrypted where they are encrypted and a key of this process opens them."""
    try:
        return opened_value(job.worker, job.args)
    except KeyMissing:
        return job.args


def _contains(actual: Any, wanted: Any) -> bool:
    """PostgreSQL's ``@>``."""
    kinds: set[Any] = {type(actual), type(wanted)}
    if kinds == {dict}:
        return all(key in actual and _contains(actual[key], value) for key, value in wanted.items())
    if kinds == {list}:
        return all(any(_contains(one, each) for one in actual) for each in wanted)
    return bool(wanted == actual) and isinstance(wanted, bool) is isinstance(actual, bool)


def _json_differences(wanted: Any, actual: Any, path: str) -> list[str]:
    if isinstance(wanted, dict) and isinstance(actual, dict):
        differences: list[str] = []
        for key, value in cast(dict[str, Any], wanted).items():
            if key not in actual:
                there = ", ".join(repr(key) for key in cast(dict[str, Any], actual)) or "nothing"
                differences.append(f"{path} has no {key!r} (there is {there})")
            else:
                differences += _json_differences(value, actual[key], f"{path}[{key!r}]")
        return differences
    # In Python True is 1, in JSON it is not; and 1 is 1.0 in both.
    if wanted == actual and isinstance(wanted, bool) is isinstance(actual, bool):
        return []
    return [f"{path} is {_short(actual)}, not {_short(wanted)}"]


_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 120
_repr.maxdict = _repr.maxlist = 20


def _short(value: Any) -> str:
    return _repr.repr(value)


def _worker(value: Any, what: str) -> str:
    name = value if isinstance(value, str) else worker_name_of(value)
    if name is None:
        raise InvalidOption(f"{what}: expected a worker or its name, got {value!r}")
    return name


def _json_object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidOption(f"{what}: expected a dict, got {value!r}")
    given = referred(dict(cast(Mapping[str, Any], value)), _reference, what)
    try:
        made = to_jsonable_python(given)
    except PydanticSerializationError as error:
        raise InvalidArgs(f"{what}: JSON can't carry it: {error}") from None
    return cast(dict[str, Any], json.loads(encode_value(made, what)))


def _reference(instance: Any, path: str) -> Any:
    """What a job stores of an instance. Of some classes pydantic would compare every column."""
    state = state_of(instance)
    if state.identity is None:
        raise InvalidArgs(f"{path}: this {type(instance).__name__} has no key yet; flush the session first")
    return KeyForm(state.mapper).write(state.identity)


def _tags(value: Any, what: str) -> list[str]:
    tags = None if isinstance(value, str) else _strings(value)
    if tags is None:
        raise InvalidOption(f"{what}: expected a sequence of strings, got {value!r}")
    return tags


def _states(value: Any, what: str) -> list[JobState]:
    names = [value] if isinstance(value, str) else _strings(value)
    if names is None:
        raise InvalidOption(f"{what}: expected a state or several, got {value!r}")
    refuse_unknown(names, [state.value for state in JobState], what)
    return [JobState(name) for name in names]


def _strings(value: Any) -> list[str] | None:
    """The strings in `value`; None where it is not a collection of strings."""
    try:
        found: list[Any] = list(value)
    except TypeError:
        return None
    return found if all(isinstance(one, str) for one in found) else None


def _time(value: Any, what: str) -> datetime:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise InvalidOption(f"{what}: expected an aware datetime, got {value!r}")
    return value


def _queue(value: Any, what: str) -> str:
    return check_name(what, value)


def _priority(value: Any, what: str) -> int:
    return integer(0, 9, "0 first")(what, value)


_CHECKED = {
    "worker": _worker,
    "queue": _queue,
    "priority": _priority,
    "args": _json_object,
    "meta": _json_object,
    "tags": _tags,
    "state": _states,
    "scheduled_at": _time,
}
