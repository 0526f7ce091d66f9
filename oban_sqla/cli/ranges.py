"""Numbers within bounds, as the arguments of commands."""

from __future__ import annotations

from typing import Any

import click


class Whole(click.IntRange):
    """A whole number within bounds; the message says them."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            number = int(value)
        except ValueError:
            self.fail(f"expected a whole number{_bounds(self)}, got {value!r}", param, ctx)
        if not _is_within(number, self):
            self.fail(f"expected a whole number{_bounds(self)}, got {value!r}", param, ctx)
        return number


class Number(click.FloatRange):
    """A number within bounds; the message says them."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = float(value)
        except ValueError:
            self.fail(f"expected a number{_bounds(self)}, got {value!r}", param, ctx)
        if not _is_within(number, self):
            self.fail(f"expected a number{_bounds(self)}, got {value!r}", param, ctx)
        return number


def _is_within(number: float, of: click.IntRange | click.FloatRange) -> bool:
    return (of.min is None or number >= of.min) and (of.max is None or number <= of.max)


def _bounds(of: click.IntRange | click.FloatRange) -> str:
    if of.max is None:
        return f", {of.min:,} or more" if of.min is not None else ""
    return f" from {of.min:,} to {of.max:,}"
