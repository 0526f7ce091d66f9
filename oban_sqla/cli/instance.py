"""Which instance a command means, where a database has several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT = "Oban"


def instance_option(command: F) -> F:
    """``--instance``, what ``Oban(name=…)`` is in a program."""
    return click.option(
        "--instance",
        metavar="NAME",
        default=DEFAULT,
        show_default=True,
        help="The instance, for Oban(name=…).",
    )(command)
