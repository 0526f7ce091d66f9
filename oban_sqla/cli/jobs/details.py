"""``oban-sqla jobs show``: everything about one job."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from ...models import Job
from ...models.job import jobs
from ..database import database_option, on_database, schema_option
from ..output import ago, json_option, print_json, span
from .filters import JobId

_COLUMNS = (
    "id", "state", "queue", "worker", "priority", "attempt", "max_attempts", "tags", "attempted_by", "args", "meta",
    "errors", "inserted_at", "scheduled_at", "attempted_at", "completed_at", "cancelled_at", "discarded_at",
)  # fmt: skip
_TIMES = tuple(name for name in _COLUMNS if name.endswith("_at"))


@click.command(short_help="Show everything about a job.")
@click.argument("id", type=JobId())
@database_option
@schema_option
@json_option
def show(id: int, url: str | None, schema: str | None, as_json: bool) -> None:
    """Show everything about the job ID: its arguments and meta, its times, and all its errors.

    \b
      oban-sqla jobs show 1234
      oban-sqla jobs show 1234 --json

    The exit code is 1 when there is no such job.
    """
    found = on_database(url, schema, lambda engine: details(engine, id))
    if found is None:
        raise click.ClickException(f"there is no job {id}; it was deleted or pruned, or never committed")
    if as_json:
        print_json(found)
    else:
        click.echo(as_text(found))


async def details(engine: AsyncEngine, id: int) -> dict[str, Any] | None:
    """The job's columns, when it was asked to stop, and in seconds ``queue_time`` (due before its last attempt) and
    ``duration`` (of that attempt, to its end or until now); None when there is no such job."""
    async with AsyncSession(engine) as session:
        row = (await session.execute(select(Job, jobs.c.cancel_at).where(Job.id == id))).one_or_none()
        if row is None:
            return None
        job: Job = row[0]
        ran = job.duration if job.is_finished or job.state == "executing" else None
        return {
            **{name: getattr(job, name) for name in _COLUMNS},
            "cancel_at": row[1],
            "queue_time": None if job.queue_time is None else job.queue_time.total_seconds(),
            "duration": None if ran is None else ran.total_seconds(),
        }


def as_text(found: Mapping[str, Any]) -> str:
    """`found` for people: a line a fact, then what is long."""
    lines = [f"job {found['id']} is {found['state']}{_asked(found)}", ""]
    facts = {
        "worker": found["worker"],
        "queue": found["queue"],
        "priority": found["priority"],
        "attempt": f"{found['attempt']} of {found['max_attempts']}",
        "tags": ", ".join(found["tags"]),
        "nodes": ", ".join(found["attempted_by"]),
        **{name.removesuffix("_at"): _moment(found[name]) for name in _TIMES},
        "waited": "" if found["queue_time"] is None else span(max(found["queue_time"], 0)),
        "ran": "" if found["duration"] is None else span(max(found["duration"], 0)),
    }
    lines += [f"{name:<10} {value}" for name, value in facts.items() if value != ""]
    for name in ("args", "meta"):
        lines += ["", name, _indented(json.dumps(found[name], indent=2, ensure_ascii=False))]
    for error in found["errors"]:
        lines += ["", *_error(error)]
    return "\n".join(lines)


def _asked(found: Mapping[str, Any]) -> str:
    return ", and was asked to stop" if found["cancel_at"] is not None and found["state"] == "executing" else ""


def _error(error: Any) -> list[str]:
    if not isinstance(error, dict):  # another program's
        return ["error", _indented(str(error))]
    told: dict[str, Any] = dict(error)  # pyright: ignore[reportUnknownArgumentType]
    at = told.get("at")
    return [f"error in attempt {told.get('attempt', '?')}, {_told_time(at)}", _indented(str(told.get("error", "")))]


def _told_time(at: Any) -> str:
    """The time of an error, which is stored as text."""
    try:
        moment = datetime.fromisoformat(str(at))
    except ValueError:
        return "at an unknown time" if at is None else f"at {at}"
    return _moment(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _moment(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z ({ago(moment)})"


def _indented(text: str) -> str:
    return textwrap.indent(text, "  ")
