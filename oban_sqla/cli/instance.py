"""The instance that a command means, when a database has several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from .settings import settings

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT = "Oban"


def instance_option(command: F) -> F:
    """``--instance``, which is ``Oban(name=…)`` in a program; else the environment, else the settings file."""
    return click.option(
        "--instance",
        metavar="NAME",
        envvar="OBAN_NAME",
        show_envvar=True,
        default=lambda: settings().value("name") or DEFAULT,
        help=f"Name of the instance, Oban(name=…) in a program. Default: {DEFAULT}.",
    )(command)
