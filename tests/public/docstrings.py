"""What a docstring documents, and what a signature asks it to."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import typing_extensions

FIELD = re.compile(r"^\s*:(?:param|ivar) (\w+):", re.MULTILINE)
REFUSED = "unknown"
"""The ``**unknown: Never`` that lets a misspelt option be named in an error."""


def documented(thing: Any) -> set[str]:
    """The names that the docstring of `thing` documents as parameters or attributes."""
    return set(FIELD.findall(inspect.getdoc(thing) or ""))


def parameters(function: Callable[..., Any]) -> set[str]:
    """The names that a caller of `function` may give; for ``**options: Unpack[Options]`` the keys of Options."""
    names: set[str] = set()
    for parameter in inspect.signature(function).parameters.values():
        match parameter.kind, parameter.name:
            case _, "self" | "cls" | "unknown":
                continue
            case inspect.Parameter.VAR_KEYWORD, name:
                names |= _keys(function, name)
            case _, name:
                names.add(name)
    return names


def _keys(function: Callable[..., Any], name: str) -> set[str]:
    hint = typing_extensions.get_type_hints(function, include_extras=True).get(name)
    for unpacked in typing.get_args(hint):
        if typing_extensions.is_typeddict(unpacked):
            return set(unpacked.__annotations__)
    return {name}


def public(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """The functions and classes that `module` exports, with their qualified names."""
    for name in module.__all__:
        thing = getattr(module, name)
        if inspect.isclass(thing) or callable(thing):
            yield f"{module.__name__}.{name}", thing


def methods(cls: type) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The public methods that `cls` defines itself."""
    for name, member in vars(cls).items():
        function: object = getattr(member, "__func__", member)  # of class and static methods
        if not name.startswith("_") and inspect.isfunction(function):
            yield name, function
