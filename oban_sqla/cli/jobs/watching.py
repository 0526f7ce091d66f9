"""``oban-sqla jobs watch``: a line a change, until the jobs have finished."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import click
from sqlalchemy import BigInteger, func, literal, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from ...models.job import jobs
from ...types import FINISHED, JobState
from ..database import database_option, on_database, schema_option
from ..output import span
from . import rows
from .filters import Filter, JobId, filter_options, is_in

INTERVAL = 0.5
"""Seconds between two looks."""
MOST = 1_000
"""Jobs that are watched at once."""
DELETED = "deleted"

_UNFINISHED = [state.value for state in JobState if state not in FINISHED]


@click.command(short_help="Follow jobs until they have finished.")
@click.argument("ids", type=JobId(), nargs=-1, metavar="[ID]...")
@filter_options
@click.option(
    "--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Give up after this long. Default: never."
)
@database_option
@schema_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line, for programs.")
def watch(
    ids: tuple[int, ...], chosen: Filter, timeout: float | None, url: str | None, schema: str | None, as_json: bool
) -> None:
    """Follow jobs: print a line when one changes, until all have finished.

    \b
      oban-sqla jobs watch 1234 1235 --timeout 60
      oban-sqla jobs watch --queue media

    Takes ids, or filters, which choose among the unfinished jobs of this moment, 1,000 at the
    most. It looks every half second, so what is shorter may pass unseen.

    The exit code is 0 when all completed, and 1 when one was discarded, cancelled or deleted, or
    when the time was up.
    """
    if ids and chosen:
        raise click.UsageError("give either ids or filters: filters choose among all jobs")
    if not ids and not chosen:
        raise click.UsageError(
            "which jobs? Give ids, as in `oban-sqla jobs watch 1234`, or filters, such as --queue media"
        )
    if len(set(ids)) > MOST:
        raise click.UsageError(f"at most {MOST:,} jobs can be watched at once, got {len(set(ids)):,}")
    given = tuple(dict.fromkeys(ids))
    ends = on_database(url, schema, lambda engine: _watch(engine, given, chosen, timeout, as_json))
    if any(end != "completed" for end in ends):
        sys.exit(1)


async def _watch(
    engine: AsyncEngine, ids: tuple[int, ...], chosen: Filter, timeout: float | None, as_json: bool
) -> list[str]:
    """Print changes.

    :returns: the states in which the jobs ended.
    :raises click.ClickException: for an id that there is not, too many jobs, or when the time is up.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    watched = list(ids) or await _chosen(engine, chosen)
    if not watched:
        click.echo("no such job is unfinished", err=True)
    seen: dict[int, Mapping[str, Any]] = {}
    ended: dict[int, str] = {}
    while len(ended) < len(watched):
        found = await _looked_up(engine, [id for id in watched if id not in ended])
        for id in watched:
            if id in ended:
                continue
            if id not in found and id not in seen:
                raise click.ClickException(f"there is no job {id}; it was deleted or pruned, or never committed")
            row = found.get(id) or {**seen[id], "state": DELETED}
            if _has_changed(seen.get(id), row):
                click.echo(_object(row) if as_json else _line(seen.get(id), row))
                seen[id] = row
            if row["state"] in (*FINISHED, DELETED):
                ended[id] = row["state"]
        if len(ended) < len(watched):
            await _pause(deadline, timeout, [id for id in watched if id not in ended])
    return list(ended.values())


async def _pause(deadline: float | None, timeout: float | None, unfinished: list[int]) -> None:
    """Wait for the next look, or until the time is up."""
    left = INTERVAL if deadline is None else deadline - time.monotonic()
    if left <= 0:
        named = ", ".join(map(str, unfinished[:5])) + (", …" if len(unfinished) > 5 else "")
        raise click.ClickException(f"not finished within {timeout:g} s: {len(unfinished):,} ({named})")
    await asyncio.sleep(min(left, INTERVAL))


async def _chosen(engine: AsyncEngine, chosen: Filter) -> list[int]:
    """The ids of the unfinished jobs that the filter chooses."""
    wanted = select(jobs.c.id).where(*chosen.conditions, is_in(_UNFINISHED)).order_by(jobs.c.id).limit(MOST + 1)
    async with AsyncSession(engine) as session:
        found = list(await session.scalars(wanted))
    if len(found) > MOST:
        raise click.ClickException(f"more than {MOST:,} unfinished jobs are chosen; say more of them")
    return found


async def _looked_up(engine: AsyncEngine, ids: Iterable[int]) -> dict[int, dict[str, Any]]:
    wanted = rows.rows().where(jobs.c.id == func.any(literal(list(ids), ARRAY(BigInteger))))
    async with AsyncSession(engine) as session:
        return {row["id"]: row for row in await rows.loaded(session, wanted)}


def _has_changed(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> bool:
    return before is None or any(before[name] != now[name] for name in ("state", "attempt", "queue"))


def _line(before: Mapping[str, Any] | None, row: Mapping[str, Any]) -> str:
    state = row["state"] if before is None else f"{before['state']} → {row['state']}"
    parts = [f"{datetime.now(UTC):%H:%M:%S}Z", f"job {row['id']}", row["worker"], state]
    if row["attempt"]:
        parts.append(f"attempt {row['attempt']} of {row['max_attempts']}")
    end = rows.when(row)
    if row["state"] == "completed" and end is not None and row["attempted_at"] is not None:
        parts.append(span(max((end - row["attempted_at"]).total_seconds(), 0)))
    if row["state"] in ("retryable", "discarded", "cancelled") and row["error"]:
        parts.append(row["error"])
    return "  ".join(parts)


def _object(row: Mapping[str, Any]) -> str:
    told = {name: row[name] for name in ("id", "worker", "queue", "state", "attempt", "max_attempts", "error")}
    return json.dumps(told | {"at": datetime.now(UTC).isoformat()}, ensure_ascii=False)
