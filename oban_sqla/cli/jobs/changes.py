"""``oban-sqla jobs cancel``, ``retry`` and ``delete``: of ids, or of all jobs that a filter chooses."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import click
from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from ...models import Job
from ...models.job import jobs
from ...oban import Oban
from ...types import JobState
from ..database import database_option, on_database, schema_option
from ..options import with_options
from ..output import json_option, print_json
from .filters import Filter, JobId, filter_options, is_in

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Change:
    """A change of jobs.

    :param name: of the command.
    :param done: what the jobs then are.
    :param states: in which it changes jobs.
    :param make: changes jobs, and returns how many.
    :param hint: what to do about a job in another state, by that state.
    """

    name: str
    done: str
    states: tuple[str, ...]
    make: Callable[[Oban, int | Select[Any]], Awaitable[int]]
    hint: Mapping[str, str]

    def conditions(self, chosen: Filter) -> list[ColumnElement[bool]]:
        """Which of the chosen jobs would be changed."""
        unasked = [~is_in(["executing"]) | jobs.c.cancel_at.is_(None)] if self.name == "cancel" else []
        return [*chosen.conditions, is_in(self.states), *unasked]


CANCEL = Change(
    "cancel",
    "cancelled, or asked to stop",
    ("available", "scheduled", "suspended", "executing", "retryable"),
    lambda oban, target: oban.cancel(target),
    {"executing": "it has been asked to stop already"},
)
RETRY = Change(
    "retry",
    "available again",
    ("scheduled", "retryable", "completed", "discarded", "cancelled"),
    lambda oban, target: oban.retry(target),
    {
        "available": "it runs as soon as a node has room for it",
        "executing": "it runs now",
        "suspended": "it waits for other jobs",
    },
)
DELETE = Change(
    "delete",
    "deleted",
    tuple(state.value for state in JobState if state != JobState.EXECUTING),
    lambda oban, target: oban.delete(target),
    {"executing": "cancel it first"},
)


def change_options(command: F) -> F:
    """The parameters of all changes."""
    options = (
        click.argument("ids", type=JobId(), nargs=-1, metavar="[ID]..."),
        filter_options,
        click.option("--yes", is_flag=True, help="Don't ask before the jobs of a filter are changed."),
        database_option,
        schema_option,
        json_option,
    )
    return with_options(command, options)


@click.command(short_help="Let jobs not run, or stop.")
@change_options
def cancel(**given: Any) -> None:
    """Let jobs not run; those that run are asked to stop, which they do within a second.

    \b
      oban-sqla jobs cancel 1234 1235
      oban-sqla jobs cancel --queue media --tag import
      oban-sqla jobs cancel --worker app.jobs.report --args customer=7 --yes

    Takes ids, or filters; with filters it says how many jobs that would be, and asks. Finished
    jobs stay as they are. The exit code is 1 when none of the ids could be cancelled.
    """
    _run(CANCEL, **given)


@click.command(short_help="Let jobs run again, now.")
@change_options
def retry(**given: Any) -> None:
    """Let jobs run again now, also finished ones; one without an attempt left gets one more.

    \b
      oban-sqla jobs retry 1234 1235
      oban-sqla jobs retry --state discarded --queue media

    Takes ids, or filters; with filters it says how many jobs that would be, by state, and asks:
    without --state, completed jobs run again too. Jobs that run, or are about to, stay as they
    are. The exit code is 1 when none of the ids could be retried.
    """
    _run(RETRY, **given)


@click.command(short_help="Delete jobs.")
@change_options
def delete(**given: Any) -> None:
    """Delete jobs, except those that run.

    \b
      oban-sqla jobs delete 1234 1235
      oban-sqla jobs delete --state discarded --worker app.jobs.report

    Takes ids, or filters; with filters it says how many jobs that would be, by state, and asks.
    The exit code is 1 when none of the ids could be deleted.
    """
    _run(DELETE, **given)


def _run(
    change: Change, ids: tuple[int, ...], chosen: Filter, yes: bool, url: str | None, schema: str | None, as_json: bool
) -> None:
    if ids and chosen:
        raise click.UsageError("give either ids or filters: filters choose among all jobs")
    if not ids and not chosen:
        raise click.UsageError(
            f"which jobs? Give ids, as in `oban-sqla jobs {change.name} 1234`, or filters, such as --queue media"
        )
    if ids:
        _report_ids(change, on_database(url, schema, lambda engine: _each(change, engine, ids)), as_json)
        return
    changed = on_database(url, schema, lambda engine: _all(change, engine, chosen, yes))
    if as_json:
        print_json({"changed": changed})
    else:
        click.echo(_sentence(change, changed))


async def _each(change: Change, engine: AsyncEngine, ids: tuple[int, ...]) -> dict[int, str | None]:
    """Change one after the other.

    :returns: the ids, each with why it was not changed; None where it was.
    """
    oban = Oban(engine)
    told: dict[int, str | None] = {}
    for id in dict.fromkeys(ids):
        told[id] = None if await change.make(oban, id) else await _reason(change, engine, id)
    return told


async def _reason(change: Change, engine: AsyncEngine, id: int) -> str:
    async with AsyncSession(engine) as session:
        state = await session.scalar(select(Job.state).where(Job.id == id))
    if state is None:
        return "there is no such job"
    hint = change.hint.get(state)
    return f"it is {state}" if hint is None else f"it is {state}; {hint}"


async def _all(change: Change, engine: AsyncEngine, chosen: Filter, yes: bool) -> int:
    conditions = change.conditions(chosen)
    if not yes:
        async with AsyncSession(engine) as session:
            counted = select(Job.state, func.count()).where(*conditions).group_by(Job.state).order_by(Job.state)
            counts = {str(state): int(count) for state, count in await session.execute(counted)}
        if not counts:
            return 0
        by_state = ", ".join(f"{count:,} {state}" for state, count in counts.items())
        click.confirm(f"{change.name} {_jobs(sum(counts.values()))} ({by_state})?", abort=True, err=True)
    return await change.make(Oban(engine), select(Job).where(*conditions))


def _report_ids(change: Change, told: Mapping[int, str | None], as_json: bool) -> None:
    changed = [id for id, reason in told.items() if reason is None]
    unchanged = {id: reason for id, reason in told.items() if reason is not None}
    if as_json:
        print_json({
            "changed": len(changed),
            "ids": changed,
            "unchanged": [{"id": id, "reason": reason} for id, reason in unchanged.items()],
        })  # fmt: skip
    else:
        click.echo(_sentence(change, len(changed)))
    for id, reason in unchanged.items():
        click.echo(f"job {id}: {reason}", err=True)
    if not changed:
        sys.exit(1)


def _sentence(change: Change, count: int) -> str:
    return f"{_jobs(count)} {'is' if count == 1 else 'are'} {change.done}" if count else f"no job to {change.name}"


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count:,} jobs"
