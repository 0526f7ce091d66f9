"""What many jobs have in common: their worker and their options, in the order of the table.

Specs of one worker that say nothing else share one kind, which is a plain tuple. A spec without options costs nothing
for them, and a bulk insertion sends each kind once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import InvalidOption, unknown_option
from ..options.payload import encode
from ..options.unique import Unique
from .checks import check_limit, check_name, integer
from .columns import Option, options_of
from .job import jobs, mapped

Kind = tuple[Any, ...]
"""A worker's name, and after it the value of each of :data:`OPTIONS`, as its check returned it."""

OPTIONS: Mapping[str, Option] = {option.name: option for column in jobs.c for option in options_of(column)}
"""The options of a spec, by name."""

IN_META: Mapping[str, Option] = {
    "weight": Option("weight", integer(1, 1_000_000, "what one start costs of a rate limit"), 1),
    # A worker keeps that of its jobs itself, so that a change of it holds for jobs that wait already.
    "deadline": Option("deadline", check_limit, of_worker=False),
}
"""Options of a spec that are kept under their names in the job's meta, which says nothing of a default."""

NAMES = (*OPTIONS, *IN_META)
"""The names of all options of a spec."""

FIELDS = ("worker", *(option.attribute for option in OPTIONS.values()))
"""The attributes of a spec that a kind holds, in its order."""


_DEFAULTS: Kind = tuple(option.default for option in OPTIONS.values())
_RIVALS: Mapping[str, tuple[str, ...]] = {
    option.name: tuple(other.name for other in options_of(column) if other is not option)
    for column in jobs.c
    for option in options_of(column)
}
"""By option, the others that fill the same column, of which one can have a value."""

_META = FIELDS.index(OPTIONS["meta"].attribute)
_DEFAULT_META = OPTIONS["meta"].default
_UNIQUE = FIELDS.index(OPTIONS["unique"].attribute)
_PLACES = {name: FIELDS.index(option.attribute) for name, option in OPTIONS.items()}
_STEPS = {name: (_PLACES[name], option.check, _RIVALS[name]) for name, option in OPTIONS.items()}
_named: dict[str, Kind] = {}


def kind_of(worker: str) -> Kind:
    """The kind of the jobs of a worker of which only the name is known.

    :raises InvalidOption: for what can't be a name.
    """
    if (kind := _named.get(worker)) is None:
        kind = (check_name("worker", worker), *_DEFAULTS)
        if type(worker) is str and len(_named) < 1_000:  # the same few again and again
            _named[worker] = kind
    return kind


def with_options(kind: Kind, given: Mapping[str, Any], what: str) -> Kind:
    """`kind` with the options that are `given`; None leaves one as it is.

    :param what: takes them, for messages.
    :raises InvalidOption: for an unknown option, a value that it can't have, or two options of one column.
    :raises InvalidArgs: for a dict that JSON can't carry.
    """
    values = [*kind]
    in_meta: dict[str, Any] = {}
    for name, value in given.items():
        try:
            place, check, rivals = _STEPS[name]
        except KeyError:
            if name not in IN_META:
                raise unknown_option(name, NAMES, what) from None
            if value is not None:
                in_meta[name] = IN_META[name].check(name, value)
            continue
        if value is not None:
            values[place] = check(name, value)
            if rivals:
                _replace(values, name, rivals, given, what)
    if in_meta or (values[_META] != kind[_META] and kind[_META] != _DEFAULT_META):
        values[_META] = _with_meta(values[_META], kind[_META], in_meta)
    if values[_UNIQUE] is not None or kind[_UNIQUE] is not None:
        _debounce(values, kind, given, what)
    return tuple(values)


def _debounce(values: list[Any], kind: Kind, given: Mapping[str, Any], what: str) -> None:
    """Let a job that is debounced be due when no other one has come.

    :raises InvalidOption: when a time is given, too.
    """
    unique: Unique | None = values[_UNIQUE]
    delay = None if unique is None else unique.delay
    if delay is None:
        before: Unique | None = kind[_UNIQUE]
        if before is not None and before.delay is not None and given.get("schedule_in") is None:
            values[_PLACES["schedule_in"]] = OPTIONS["schedule_in"].default
        return
    for name in ("scheduled_at", "schedule_in"):
        if given.get(name) is not None:
            raise InvalidOption(f"{what}: both {name} and Unique(debounce=…) were given, which set the same time")
    values[_PLACES["schedule_in"]] = delay
    # For `why`, which has nothing but the row.
    values[_META] = encode({**json.loads(values[_META]), "debounce": delay}, "meta")


def _with_meta(meta: str, before: str, given: Mapping[str, Any]) -> str:
    """`meta` as text, with the options that are `given`, and those that it had `before` and does not say itself."""
    values: dict[str, Any] = json.loads(meta)
    former: dict[str, Any] = json.loads(before)
    kept = {name: former[name] for name in IN_META if name in former and name not in values}
    return encode({**values, **kept, **given}, "meta")


def in_meta(kind: Kind) -> str:
    """The options that `kind` keeps in its meta, as JSON text; empty where there are none."""
    meta: dict[str, Any] = json.loads(kind[_META])
    kept = {name: meta[name] for name in IN_META if name in meta}
    return json.dumps(kept) if kept else ""


def checked(given: Mapping[str, Any], what: str) -> dict[str, Any]:
    """The `given` options, each as its check returned it.

    :param what: takes them, for messages.
    :raises InvalidOption: for a value that an option can't have, None included, or two options of one column.
    :raises InvalidArgs: for a dict that JSON can't carry.
    """
    for name in given:
        _refuse_both(name, _RIVALS[name], given, what)
    return {name: OPTIONS[name].check(name, value) for name, value in given.items()}


def by_column(kind: Kind) -> dict[str, Any]:
    """What `kind` says of the columns of a job, by their names; of a column with several options, the first."""
    values = dict(zip(FIELDS, kind, strict=True))
    named = {column.name: options[0] for column in mapped if (options := options_of(column))}
    return {"worker": values["worker"]} | {name: values[option.attribute] for name, option in named.items()}


def _replace(values: list[Any], name: str, rivals: Sequence[str], given: Mapping[str, Any], what: str) -> None:
    """Reset the `rivals` of the option `name`: a worker may have given one."""
    _refuse_both(name, rivals, given, what)
    for rival in rivals:
        values[_PLACES[rival]] = OPTIONS[rival].default


def _refuse_both(name: str, rivals: Sequence[str], given: Mapping[str, Any], what: str) -> None:
    for rival in rivals:
        if given.get(rival) is not None:
            first, second = (one for one in OPTIONS if one in (name, rival))
            raise InvalidOption(f"{what}: both {first} and {second} were given; choose one")
