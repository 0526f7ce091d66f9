"""``oban-sqla jobs watch``: one line per change, until the jobs have finished."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

import click
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from ...insight.jobs import Filter, moment
from ...insight.progress import bar, progress_of, words
from ...insight.watch import Step, Watch, unfinished
from ...insight.words import span
from ...models.progress import Progress
from ..database import database_option, on_database, schema_option
from ..ids import JobId
from ..ranges import Number
from ..text import printable
from .details import MISSING
from .filters import filter_options, ids_or_filter

INTERVAL = 0.5
"""Seconds between two looks."""
MOST = 1_000
"""Most jobs that are watched at once."""


@click.command(short_help="Follow jobs until they have finished.")
@click.argument("ids", type=JobId(), nargs=-1, metavar="[ID]...")
@filter_options
@click.option("--timeout", type=Number(min=0), metavar="SECONDS", help="Stop after this time. Default: never.")
@database_option
@schema_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line, for programs.")
def watch(
    ids: tuple[int, ...], chosen: Filter, timeout: float | None, url: str | None, schema: str | None, as_json: bool
) -> None:
    """Follow jobs: print a line when one changes, and a bar when one tells its progress, until all have finished.

    \b
      oban-sqla jobs watch 1234 1235 --timeout 60
      oban-sqla jobs watch --queue media

    Give ids or filters. Filters choose among the jobs that are unfinished now, at most 1,000. The
    command looks every half second, so it may miss changes that follow each other faster.

    The exit code is 0 when all jobs completed, and 1 when one was discarded, cancelled or deleted,
    or when the time was up.
    """
    ids_or_filter("watch", ids, chosen)
    if len(set(ids)) > MOST:
        raise click.UsageError(f"at most {MOST:,} jobs can be watched at once, got {len(set(ids)):,}")
    ends = on_database(url, schema, lambda engine: _watch(engine, ids, chosen, timeout, as_json))
    if any(end != "completed" for end in ends):
        sys.exit(1)


async def _watch(
    engine: AsyncEngine, given: Sequence[int], chosen: Filter, timeout: float | None, as_json: bool
) -> list[str]:
    """Print the changes of jobs until all have ended.

    :returns: the states in which the jobs ended.
    :raises click.ClickException: for an id that no job has, for too many jobs, and when the time is up.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    watched = Watch(given or await _chosen(engine, chosen))
    shown: dict[int, Progress] = {}
    if not watched.unfinished:
        click.echo("no matching job is unfinished", err=True)
    while before := watched.unfinished:
        async with AsyncSession(engine) as session:
            try:
                steps = await watched.look(session)
            except LookupError as missing:
                raise click.ClickException(MISSING.format(id=missing.args[0])) from missing
            said = await progress_of(session, before)
        new = {job_id: progress for job_id, progress in said.items() if shown.get(job_id) != progress}
        shown |= new
        bars = {job_id: (_progress_object if as_json else _bar)(job_id, progress) for job_id, progress in new.items()}
        last = [bars.pop(job_id) for job_id in list(bars) if job_id in watched.ended]
        changes = [_object(step) if as_json else _line(step) for step in steps]
        for line in (*last, *changes, *bars.values()):
            click.echo(printable(line))
        if watched.unfinished:
            await _pause(deadline, timeout, watched.unfinished)
    return list(watched.ended.values())


async def _pause(deadline: float | None, timeout: float | None, left: list[int]) -> None:
    """Wait for the next look, or until the time is up."""
    remaining = INTERVAL if deadline is None else deadline - time.monotonic()
    if remaining <= 0:
        named = ", ".join(map(str, left[:5])) + (", …" if len(left) > 5 else "")
        raise click.ClickException(f"not finished within {timeout:g} s: {len(left):,} ({named})")
    await asyncio.sleep(min(remaining, INTERVAL))


async def _chosen(engine: AsyncEngine, chosen: Filter) -> list[int]:
    """The ids of the unfinished jobs that the filter chooses."""
    async with AsyncSession(engine) as session:
        ids = await unfinished(session, chosen, MOST + 1)
    if len(ids) > MOST:
        raise click.ClickException(f"more than {MOST:,} unfinished jobs match; add another filter")
    return ids


def _line(step: Step) -> str:
    job, before = step.now, step.before
    state = job["state"] if before is None else f"{before['state']} → {job['state']}"
    parts = [f"{datetime.now(UTC):%H:%M:%S}Z", f"job {job['id']}", job["worker"], state]
    if job["attempt"]:
        parts.append(f"attempt {job['attempt']} of {job['max_attempts']}")
    end = moment(job)
    if job["state"] == "completed" and end is not None and job["attempted_at"] is not None:
        parts.append(span((end - job["attempted_at"]).total_seconds()))
    if job["state"] in ("retryable", "discarded", "cancelled") and job["error"]:
        parts.append(job["error"])
    return "  ".join(parts)


def _bar(job_id: int, progress: Progress) -> str:
    parts = [f"{datetime.now(UTC):%H:%M:%S}Z", f"job {job_id}", bar(progress), words(progress)]
    return "  ".join(part for part in parts if part)


def _progress_object(job_id: int, progress: Progress) -> str:
    said = asdict(progress) | {"at": progress.at.isoformat()}
    return json.dumps({"id": job_id, "progress": said}, ensure_ascii=False)


def _object(step: Step) -> str:
    columns = ("id", "worker", "queue", "state", "attempt", "max_attempts", "error")
    job = {name: step.now[name] for name in columns}
    return json.dumps(job | {"at": datetime.now(UTC).isoformat()}, ensure_ascii=False)
