"""Arguments that are numbers within bounds."""

from __future__ import annotations

from typing import Any

import click


class Whole(click.IntRange):
    """A whole number within bounds, which the error message names."""

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
    """A number within bounds, which the error message names."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = float(value)
        except ValueError:
            self.fail(f"expected a number{_bounds(self)}, got {value!r}", param, ctx)
        if not _is_within(number, self):
            self.fail(f"expected a number{_bounds(self)}, got {value!r}", param, ctx)
        return number


def _is_within(number: float, given: click.IntRange | click.FloatRange) -> bool:
    return (given.min is None or number >= given.min) and (given.max is None or number <= given.max)


def _bounds(given: click.IntRange | click.FloatRange) -> str:
    if given.max is None:
        return f", {given.min:,} or more" if given.min is not None else ""
    return f" from {given.min:,} to {given.max:,}"
