"""The options that choose jobs: ``--state``, ``--queue``, ``--worker``, ``--tag`` and ``--args``; and ids."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import click

from ...insight.jobs import STATES, Filter
from ...insight.json_text import json_or_text
from ..options import with_options
from ..param_type import ParamType

F = TypeVar("F", bound=Callable[..., Any])


class Pair(ParamType[tuple[str, Any]]):
    """``customer=7``; the value is JSON, or else text."""

    name = "KEY=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        key, equals, text = str(value).partition("=")
        if not key or not equals:
            self.fail(f"{value!r}: expected a key and a value, such as customer=7", param, ctx)
        return key, json_or_text(text)


def filter_options(command: F) -> F:
    """The options of a filter, as the parameter `chosen`, a :class:`Filter`."""

    @functools.wraps(command)
    def with_filter(
        *arguments: Any,
        states: tuple[str, ...],
        queue: str | None,
        worker: str | None,
        tag: str | None,
        pairs: tuple[tuple[str, Any], ...],
        **options: Any,
    ) -> Any:
        return command(*arguments, chosen=Filter(states, queue, worker, tag, dict(pairs)), **options)

    return cast(F, with_options(with_filter, _OPTIONS))


def ids_or_filter(command: str, ids: tuple[int, ...], chosen: Filter) -> None:
    """Refuse a command that has both ids and filters, or neither.

    :param command: the command for the example in the message, such as ``"cancel"``.
    """
    if ids and chosen:
        raise click.UsageError("give either ids or filters, not both: filters choose among all jobs")
    if not ids and not chosen:
        raise click.UsageError(
            f"which jobs? Give ids, as in `oban-sqla jobs {command} 1234`, or filters, such as --queue media"
        )


_OPTIONS = (
    click.option(
        "--state",
        "states",
        multiple=True,
        type=click.Choice(STATES),
        metavar="STATE",
        help=f"Jobs in this state. May be repeated. One of: {', '.join(STATES)}.",
    ),
    click.option("--queue", metavar="NAME", help="Jobs of this queue."),
    click.option("--worker", metavar="NAME", help="Jobs of this worker, such as app.jobs.report."),
    click.option("--tag", metavar="TAG", help="Jobs with this tag."),
    click.option(
        "--args",
        "pairs",
        multiple=True,
        type=Pair(),
        help="Jobs with this key and value in their arguments. The value is JSON, or else text. May be repeated.",
    ),
)
