"""Arguments of which some are results of jobs that have yet to run: those are checked when they are there."""

from __future__ import annotations

import copy
import typing
from collections.abc import Callable
from typing import Any

from ..models.fit import UNKNOWN
from .arguments import Arguments

_loosened: dict[tuple[Arguments, frozenset[str]], Arguments] = {}
_MOST = 1_000
_DERIVED = ("_strict", "_lenient", "_travel", "_types", "_reads_nothing", "entities")


def loosened(arguments: Arguments, names: frozenset[str]) -> Arguments:
    """`arguments` that take anything for the parameters of these `names`."""
    key = (arguments, names)
    if (made := _loosened.get(key)) is None:
        made = copy.copy(arguments)
        for name in _DERIVED:
            vars(made).pop(name, None)
        vars(made)["_hints"] = {**arguments.hints, **dict.fromkeys(names & arguments.hints.keys(), Any)}
        if len(_loosened) < _MOST:
            _loosened[key] = made
    return made


def result_type(fn: Callable[..., Any]) -> Any:
    """What `fn` declares to return."""
    try:
        hints = typing.get_type_hints(fn, include_extras=True)
    except (NameError, TypeError):
        return UNKNOWN
    return hints.get("return", UNKNOWN)
