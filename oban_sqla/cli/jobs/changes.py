"""``oban-sqla jobs cancel``, ``retry`` and ``delete``: of ids, or of all jobs that a filter chooses."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from ...control.audit import audited, operator
from ...control.changes import CANCEL, DELETE, RETRY, Change
from ...insight.jobs import Filter, by_id, count_by_state
from ...models import Job
from ...oban import Oban
from ...telemetry.words import counted_jobs
from ..database import database_option, on_database, schema_option
from ..ids import JobId
from ..options import with_options
from ..output import json_option, print_json
from .filters import filter_options, ids_or_filter

F = TypeVar("F", bound=Callable[..., Any])


def change_options(command: F) -> F:
    """The parameters of all changes."""
    options = (
        click.argument("ids", type=JobId(), nargs=-1, metavar="[ID]..."),
        filter_options,
        click.option("--yes", is_flag=True, help="Don't ask before changing the jobs of a filter."),
        database_option,
        schema_option,
        json_option,
    )
    return with_options(command, options)


@click.command(short_help="Cancel jobs.")
@change_options
def cancel(**given: Any) -> None:
    """Cancel jobs. A running job is asked to stop, which it does within a second.

    \b
      oban-sqla jobs cancel 1234 1235
      oban-sqla jobs cancel --queue media --tag import
      oban-sqla jobs cancel --worker app.jobs.report --args customer=7 --yes

    Give ids or filters. With filters the command prints how many jobs match, and asks. Finished
    jobs stay as they are. The exit code is 1 when none of the ids could be cancelled.
    """
    _run(CANCEL, **given)


@click.command(short_help="Run jobs again now.")
@change_options
def retry(**given: Any) -> None:
    """Run jobs again now, finished jobs included. A job without attempts left gets one more.

    \b
      oban-sqla jobs retry 1234 1235
      oban-sqla jobs retry --state discarded --queue media

    Give ids or filters. With filters the command prints how many jobs match, by state, and asks:
    without --state, completed jobs run again too. Available, executing and suspended jobs stay as
    they are. The exit code is 1 when none of the ids could be retried.
    """
    _run(RETRY, **given)


@click.command(short_help="Delete jobs.")
@change_options
def delete(**given: Any) -> None:
    """Delete jobs, except those that are executing.

    \b
      oban-sqla jobs delete 1234 1235
      oban-sqla jobs delete --state discarded --worker app.jobs.report

    Give ids or filters. With filters the command prints how many jobs match, by state, and asks.
    The exit code is 1 when none of the ids could be deleted.
    """
    _run(DELETE, **given)


def _run(
    change: Change, ids: tuple[int, ...], chosen: Filter, yes: bool, url: str | None, schema: str | None, as_json: bool
) -> None:
    ids_or_filter(change.name, ids, chosen)
    if ids:
        _print_ids(change, on_database(url, schema, lambda engine: _each(change, engine, ids)), as_json)
        return
    count = on_database(url, schema, lambda engine: _all(change, engine, chosen, yes))
    if as_json:
        print_json({"changed": count})
    else:
        click.echo(_sentence(change, count))


async def _each(change: Change, engine: AsyncEngine, ids: tuple[int, ...]) -> dict[int, str | None]:
    """Change one job after the other.

    :returns: the ids, each with the reason why the job was not changed; None if it was changed.
    """
    oban, author = Oban(engine), operator()
    refusals: dict[int, str | None] = {}
    for id in dict.fromkeys(ids):
        with audited(author, change.name, {"ids": [id]}):
            changed = await change.make(oban, id)
        refusals[id] = None if changed else await _refusal(change, engine, id)
    return refusals


async def _refusal(change: Change, engine: AsyncEngine, id: int) -> str:
    async with AsyncSession(engine) as session:
        job = (await by_id(session, [id])).get(id)
    return change.refusal(None if job is None else job["state"])


async def _all(change: Change, engine: AsyncEngine, chosen: Filter, yes: bool) -> int:
    conditions = [*chosen.conditions, *change.conditions]
    if not yes:
        async with AsyncSession(engine) as session:
            counts = await count_by_state(session, *conditions)
        if not counts:
            return 0
        by_state = ", ".join(f"{count:,} {state}" for state, count in counts.items())
        click.confirm(f"{change.name} {counted_jobs(sum(counts.values()))} ({by_state})?", abort=True, err=True)
    with audited(operator(), change.name, {"filter": chosen.as_dict()}):
        return await change.make(Oban(engine), select(Job).where(*conditions))


def _print_ids(change: Change, results: Mapping[int, str | None], as_json: bool) -> None:
    changed = [id for id, refusal in results.items() if refusal is None]
    unchanged = {id: refusal for id, refusal in results.items() if refusal is not None}
    if as_json:
        print_json({
            "changed": len(changed),
            "ids": changed,
            "unchanged": [{"id": id, "reason": refusal} for id, refusal in unchanged.items()],
        })  # fmt: skip
    else:
        click.echo(_sentence(change, len(changed)))
    for id, refusal in unchanged.items():
        click.echo(f"job {id}: {refusal}", err=True)
    if not changed:
        sys.exit(1)


def _sentence(change: Change, count: int) -> str:
    return (
        f"{counted_jobs(count)} {'is' if count == 1 else 'are'} {change.done}" if count else f"no job to {change.name}"
    )
