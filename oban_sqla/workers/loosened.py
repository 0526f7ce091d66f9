"""Arguments of which some are results of jobs that have yet to run: those are checked when they are there."""

from __future__ import annotations

import copy
from typing import Any

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
