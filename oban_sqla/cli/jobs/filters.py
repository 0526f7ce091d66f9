"""Which jobs a command is about: ``--state``, ``--queue``, ``--worker``, ``--tag`` and ``--args``."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import click
from sqlalchemy import ColumnElement, literal_column

from ...models import Job
from ...models.job import jobs
from ...types import JobState
from ..options import with_options

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Filter:
    """What all chosen jobs have in common; what is not said does not matter."""

    states: tuple[str, ...] = ()
    queue: str | None = None
    worker: str | None = None
    tag: str | None = None
    args: Mapping[str, Any] | None = None

    def __bool__(self) -> bool:
        return bool(self.states or self.queue or self.worker or self.tag or self.args)

    @property
    def conditions(self) -> list[ColumnElement[bool]]:
        """For ``select(Job).where(*conditions)``."""
        found = [is_in(self.states)] if self.states else []
        if self.queue is not None:
            found.append(Job.queue == self.queue)
        if self.worker is not None:
            found.append(Job.worker == self.worker)
        if self.tag is not None:
            found.append(jobs.c.tags.contains([self.tag]))
        if self.args:
            found.append(jobs.c.args.contains(dict(self.args)))
        return found


def is_in(states: Sequence[str]) -> ColumnElement[bool]:
    """Whether a job is in one of `states`; as literals, so that the partial indexes can be used."""
    return Job.state.in_([literal_column(f"'{JobState(state).value}'") for state in states])


class JobId(click.ParamType[int]):
    """A number from 1 on that the column can hold."""

    name = "ID"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value)
        if not (text.isascii() and text.isdigit() and 1 <= int(text) < 2**63):
            self.fail(f"{value!r}: expected the id of a job, such as 1234", param, ctx)
        return int(text)


class Pair(click.ParamType[tuple[str, Any]]):
    """``customer=7``; the value is JSON, or else text."""

    name = "KEY=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        key, equals, text = str(value).partition("=")
        if not key or not equals:
            self.fail(f"{value!r}: expected a key and a value, such as customer=7", param, ctx)
        try:
            return key, json.loads(text, parse_constant=_refuse)
        except ValueError:
            return key, text


def filter_options(command: F) -> F:
    """The options of a filter, as the parameter `chosen`, a :class:`Filter`."""

    @functools.wraps(command)
    def with_filter(
        *rest: Any,
        states: tuple[str, ...],
        queue: str | None,
        worker: str | None,
        tag: str | None,
        pairs: tuple[tuple[str, Any], ...],
        **options: Any,
    ) -> Any:
        return command(*rest, chosen=Filter(states, queue, worker, tag, dict(pairs)), **options)

    return cast(F, with_options(with_filter, _OPTIONS))


_OPTIONS = (
    click.option(
        "--state",
        "states",
        multiple=True,
        type=click.Choice([state.value for state in JobState]),
        metavar="STATE",
        help=f"Jobs in this state; may be repeated. There are: {', '.join(JobState)}.",
    ),
    click.option("--queue", metavar="NAME", help="Jobs of this queue."),
    click.option("--worker", metavar="NAME", help="Jobs of this worker, such as app.jobs.report."),
    click.option("--tag", metavar="TAG", help="Jobs with this tag."),
    click.option(
        "--args",
        "pairs",
        multiple=True,
        type=Pair(),
        help="Jobs with this among their arguments; the value is JSON, or else text. May be repeated.",
    ),
)


def _refuse(constant: str) -> Any:
    raise ValueError(constant)  # NaN and its like, which JSON does not have
