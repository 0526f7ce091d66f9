"""What runs when a function is called, seen through its decorators: a plain body, a coroutine, or a generator.

A decorator that hides a coroutine or a generator behind a plain function is how a job is "completed" whose body never
ran. ``functools.wraps`` leaves a trace of what it wraps, and so do partials, static and bound methods.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from typing import Any, Literal, cast

from ..errors import InvalidOption, misfit

Shape = Literal["plain", "coroutine", "generator", "context manager"]


def shape(fn: Callable[..., Any]) -> Shape:
    """What a call of `fn` itself gives: "plain" for anything that a decorator hides."""
    if inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(type(fn), "__call__", None)):  # noqa: B004
        return "coroutine"
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        return "generator"
    code: Any = getattr(fn, "__code__", None)
    if code is not None and code.co_filename == contextlib.__file__ and code.co_name == "helper":
        return "context manager"
    return "plain"


def hidden(fn: Callable[..., Any]) -> Shape:
    """The shape of the outermost layer below `fn` that is not a plain function; "plain" when there is none."""
    for layer in _below(fn):
        if (found := shape(layer)) != "plain":
            return found
    return "plain"


def check_plain(fn: Callable[..., Any], what: str, *given: str) -> None:
    """Refuse a function of which a call gives no value at once, or that does not take what is `given` to it.

    :raises InvalidOption: for a coroutine function, a generator, and for other parameters than it is called with.
    """
    if given and (why := misfit(fn, *given)) is not None:
        raise InvalidOption(
            f"{what}: it is called with one argument, the {given[0]}, and {fn!r} does not fit that: {why}"
        )
    if (found := shape(fn) if shape(fn) != "plain" else hidden(fn)) != "plain":
        raise InvalidOption(f"{what}: expected a plain function, got one that gives a {found}; nothing runs it")


def mark_coroutine(fn: Any) -> None:
    """Let the standard library take the object `fn` for a coroutine function: others await what it returns then."""
    if sys.version_info >= (3, 12):
        inspect.markcoroutinefunction(fn)
    else:
        fn._is_coroutine = getattr(asyncio.coroutines, "_is_coroutine", None)


def innermost(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The function that was written, without its decorators."""
    return [fn, *_below(fn)][-1]


def _below(fn: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    seen = {id(fn)}
    inner: object = fn
    while True:
        if isinstance(inner, functools.partial | functools.partialmethod):
            inner = cast(object, inner.func)  # pyright: ignore[reportUnknownMemberType]
        else:
            inner = getattr(inner, "__wrapped__", None) or getattr(inner, "__func__", None)
        if not callable(inner) or id(inner) in seen:
            return
        seen.add(id(inner))
        yield inner
