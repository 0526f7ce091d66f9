"""What tests of all parts need: waiting for conditions instead of sleeping for luck."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

T = TypeVar("T")


@overload
async def eventually(
    condition: Callable[[], Awaitable[T | None]], timeout: float = ..., interval: float = ...
) -> T: ...


@overload
async def eventually(condition: Callable[[], T | None], timeout: float = ..., interval: float = ...) -> T: ...


async def eventually(condition: Callable[[], object], timeout: float = 10.0, interval: float = 0.01) -> object:
    """Call a condition, plain or async, until what it returns is truthy, and return that.

    An AssertionError it raises counts as "not yet", so that it may consist of asserts (and then has to return something
    true).

    :param timeout: seconds until it is given up.
    :param interval: seconds between two calls at first. Later a twentieth of the time that it has waited: to ask often
        costs the processor time that the condition waits for.
    :raises AssertionError: it did not hold in time; the message has the last value.
    """
    began = time.monotonic()
    while True:
        last: object = None
        failure: AssertionError | None = None
        try:
            outcome = condition()
            value = await outcome if inspect.isawaitable(outcome) else outcome
            if value:
                return value
            last = value
        except AssertionError as error:
            failure = error
        waited = time.monotonic() - began
        if waited > timeout:
            said = f"its last value was {last!r}" if failure is None else f"it last said: {failure}"
            raise AssertionError(f"the condition did not hold within {timeout} s; {said}") from failure
        await asyncio.sleep(min(max(interval, waited / 20), timeout - waited + 0.001))
