"""The settings, and their values: in TOML, and as text in the environment.

The class that checks an option in Python checks the setting, too. The error also names the place of the setting.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, TypeVar, cast

import click

from ...errors import InvalidOption
from ...models.checks import check_name
from ...options.heartbeat import Heartbeat
from ...options.limits import partition_of, rate_limit_of
from ...options.prioritize import Prioritize, PrioritizePolicy
from ...options.processes import Processes
from ...options.prune import Prune, PrunePolicy
from ...options.queue import Queue, as_queue
from ...options.whole import whole_from
from ...runtime.config import Config
from ..health import Address, AddressType
from ..logs import LEVELS
from .entries import entries
from .place import Place, SettingsError
from .toml import array, inline, table

T = TypeVar("T")

QUEUE, HEARTBEAT, CHILDREN = "default = 10", "interval = 5", "size = 4"
"""Entries of tables, for messages."""


@dataclass(frozen=True, slots=True)
class Key:
    """A setting.

    :param read: called with a value of TOML and its place; returns the value that the command uses. It raises
        InvalidOption, or SettingsError if it knows a more exact place.
    :param parse: called with the text of a variable; returns the value that TOML would have. None if the setting can't
        be a variable.
    :param of_runtime: whether it is an option of :class:`~oban_sqla.Oban`.
    :param option: the name of that option; empty if it is the name of the setting.
    """

    read: Callable[[Any, Place], Any]
    parse: Callable[[str], Any] | None = None
    of_runtime: bool = False
    option: str = ""


def queues_from(text: str) -> dict[str, Any]:
    """Queues from text such as ``default=10,media=5``, as TOML would have them.

    A name without a limit has the default limit. The text may also be a table of TOML, with all options of a queue:
    ``{default = 10, media = {limit = 5, global_limit = 20}}``.

    :raises InvalidOption: for anything else.
    """
    if text.lstrip().startswith("{"):
        return inline(text, QUEUE)
    queues: dict[str, Any] = {}
    for part in text.split(","):
        name, equals, limit = (piece.strip() for piece in part.partition("="))
        if not name:
            raise InvalidOption(f"{text!r}: expected names and limits, such as default=10,media=5")
        if (named := re.fullmatch(r"([^:]+):\s*(\d+)", name)) is not None:
            raise InvalidOption(f"{name!r}: expected a name and a limit, such as {named[1]}={named[2]}")
        if name in queues:
            raise InvalidOption(f"queue {name!r} is given twice")
        number = whole_from(limit)
        if equals and (number is None or not 1 <= number <= 10_000):
            raise InvalidOption(f"queue {name!r}: expected a limit from 1 to 10,000 jobs, got {limit!r}")
        queues[name] = number if equals else {}
    return queues


def queues(value: Any, place: Place) -> dict[str, Queue]:
    """The queues of a table: names, each with a limit or a table of the options of :class:`Queue`."""
    made: dict[str, Queue] = {}
    for name, given in _table(value, QUEUE).items():
        if (options := table(given)) is not None:
            made[name] = _made(Queue, _with_limits(options, place, name), place, f"{name}.")
        else:
            try:
                made[name] = as_queue(name, given)
            except InvalidOption as error:
                raise SettingsError(f"{place.key(name)}: {error}") from error
    return made


def _with_limits(given: Mapping[str, Any], place: Place, queue: str) -> dict[str, Any]:
    """The options of a queue, with its limits of the cluster as objects."""
    options = dict(given)
    for name, made in (("rate_limit", rate_limit_of), ("partition", partition_of)):
        if name in options:
            try:
                options[name] = made(options[name], name)
            except InvalidOption as error:
                raise SettingsError(f"{place.key(f'{queue}.{name}')}: {error}") from error
    return options


def _heartbeat(value: Any, place: Place) -> Heartbeat:
    return _made(Heartbeat, _table(value, HEARTBEAT), place)


def _children(value: Any, place: Place) -> Processes:
    return _made(Processes, _table(value, CHILDREN), place)


def _prune(value: Any, place: Place) -> Prune | None:
    if isinstance(value, bool):
        return Prune() if value else None
    return _made(Prune, _with_policies(PrunePolicy, value, place, "max_age = 604800"), place)


def _prioritize(value: Any, place: Place) -> Prioritize | None:
    if isinstance(value, bool):
        return Prioritize() if value else None
    return _made(Prioritize, _with_policies(PrioritizePolicy, value, place, "after = 300"), place)


def _with_policies(policy: type[Any], value: Any, place: Place, example: str) -> dict[str, Any]:
    """A table, with its policies as objects."""
    given = dict(_table(value, example))
    if "policies" in given:
        if (policies := array(given["policies"])) is None:
            where = f", as [[{place.name}.policies]]" if place.name else ""
            raise SettingsError(f"{place.key('policies')}: expected a list of tables{where}")
        given["policies"] = [
            _policy(policy, one, place.table("policies", number), example) for number, one in enumerate(policies, 1)
        ]
    return given


def _policy(policy: type[T], value: Any, place: Place, example: str) -> T:
    if (given := table(value)) is None:
        raise SettingsError(f"{place} expected a table, with entries such as {example}; got {value!r}")
    return _made(policy, given, place)


def _modules(value: Any, _: Place) -> tuple[str, ...]:
    named = [value] if isinstance(value, str) else array(value)
    if not named:
        raise InvalidOption(f"expected a module such as 'app.jobs', or a list of them, got {value!r}")
    return tuple(check_name("a module", name) for name in named)


def _database_url(value: Any, _: Place) -> str:
    if not isinstance(value, str) or not value.strip():  # the value is not shown, because it may contain a password
        raise InvalidOption("expected a URL as text, such as 'postgresql://localhost/app'")
    return value


def _log_level(value: Any, _: Place) -> str:
    if value not in LEVELS:
        raise InvalidOption(f"expected one of {', '.join(LEVELS)}, got {value!r}")
    return str(value)


def _health(value: Any, _: Place) -> Address:
    try:
        return AddressType().convert(value, None, None)
    except click.UsageError as error:
        raise InvalidOption(error.message) from error


def _processes(value: Any, _: Place) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 1_000:
        raise InvalidOption(f"expected 1 to 1,000 processes, got {value!r}")
    return value


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidOption(f"expected a whole number, such as 4, got {text!r}") from None


def _option(name: str, parse: Callable[[str], Any] = str) -> Key:
    """An option of the runtime that is one value."""

    def read(value: Any, _: Place) -> Any:
        given: dict[str, Any] = {"node": "me", name: value}
        return getattr(Config.checked(queues=None, **given), name)

    return Key(read, parse, of_runtime=True)


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidOption(f"expected seconds, such as 15 or 0.5, got {text!r}") from None


def _truth(text: str) -> bool:
    try:
        return {"true": True, "false": False}[text.lower()]
    except KeyError:
        raise InvalidOption(f"expected true or false, got {text!r}") from None


def _table_or_truth(text: str) -> Any:
    if text.lstrip().startswith("{"):
        return inline(text, "interval = 60")
    try:
        return _truth(text)
    except InvalidOption as error:
        raise InvalidOption(f"{error}; or a table of TOML, such as {{interval = 60}}") from error


KEYS: Mapping[str, Key] = {
    "module": Key(_modules, lambda text: [name.strip() for name in text.split(",")]),
    "database_url": Key(_database_url, str),
    "schema": Key(lambda value, _: check_name("schema", value), str),
    "log_level": Key(_log_level, str),
    "health": Key(_health, str),
    "processes": Key(_processes, _whole),
    "queues": Key(queues, queues_from, of_runtime=True),
    "name": _option("name"),
    "node": _option("node"),
    "notify": _option("notify"),
    "shutdown_grace": _option("shutdown_grace", _seconds),
    "leader_ttl": _option("leader_ttl", _seconds),
    "leadership": _option("leadership", _truth),
    "lifeline_interval": _option("lifeline_interval", _seconds),
    "poll_interval": _option("poll_interval", _seconds),
    "start_timeout": _option("start_timeout", _seconds),
    "log_exceptions": _option("log_exceptions", _truth),
    "metrics": _option("metrics", _truth),
    "heartbeat": Key(_heartbeat, partial(inline, example=HEARTBEAT), of_runtime=True),
    "prune": Key(_prune, _table_or_truth, of_runtime=True),
    "prioritize": Key(_prioritize, _table_or_truth, of_runtime=True),
    "children": Key(_children, partial(inline, example=CHILDREN), of_runtime=True, option="processes"),
    "crontab": Key(entries, of_runtime=True),
}


def _table(value: Any, example: str) -> dict[str, Any]:
    if (given := table(value)) is None:
        raise InvalidOption(f"expected a table, with entries such as {example}; got {value!r}")
    return given


def _made(option: type[T], given: Mapping[str, Any], place: Place, within: str = "") -> T:
    """An object of the dataclass `option`, made from the keys of a table."""
    known = {field.name: field for field in fields(cast(Any, option))}
    place.refuse_unknown(given, known, within)
    for name, value in given.items():
        if isinstance(known[name].default, bool) and not isinstance(value, bool):
            raise SettingsError(f"{place.key(within + name)}: expected true or false, got {value!r}")
    try:
        return option(**given)
    except InvalidOption as error:
        where = f"{place.key(within.removesuffix('.'))}:" if within else str(place)
        raise SettingsError(f"{where} {error}") from error
