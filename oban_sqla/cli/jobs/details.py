"""``oban-sqla jobs show``: everything about one job."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from ...control.streams import newest_lines
from ...errors import KeyMissing
from ...insight.jobs import DETAILS, details
from ...insight.progress import bar, words
from ...insight.words import span
from ...models.progress import Progress
from ...options.encryption import is_sealed
from ..database import database_option, on_database, schema_option
from ..ids import JobId
from ..output import ago, json_option, print_json
from ..text import printable
from .log_line import text_of_line

MOST_LINES = 20
"""Lines of the log that are printed; `jobs logs` prints all."""
LONGEST_TEXT = 20_000
"""Characters of args, and of meta, that are printed for people."""
MOST_ROWS = 100
"""Steps, and signals, that are printed for people; of more, the last."""

MISSING = "there is no job {id}; it was deleted or pruned, or never committed"

_TIMES = tuple(name for name in DETAILS if name.endswith("_at"))


@click.command(short_help="Show everything about a job.")
@click.argument("id", type=JobId())
@database_option
@schema_option
@json_option
def show(id: int, url: str | None, schema: str | None, as_json: bool) -> None:
    """Show everything about the job ID: its arguments and meta, its times, its progress, steps and signals, the last 20
    lines of its log, and all its errors. Of long arguments and meta it prints the first 20,000 characters, and of many
    steps or signals the last 100; --json prints all.

    \b
      oban-sqla jobs show 1234
      oban-sqla jobs show 1234 --json

    The exit code is 1 when there is no such job.
    """

    async def load(engine: AsyncEngine) -> dict[str, Any] | None:
        async with AsyncSession(engine) as session:
            found = await details(session, id)
        return None if found is None else found | {"log": await _newest_lines(engine, id)}

    job = on_database(url, schema, load)
    if job is None:
        raise click.ClickException(MISSING.format(id=id))
    if as_json:
        print_json(job)
    else:
        click.echo(printable(as_text(job)))


async def _newest_lines(engine: AsyncEngine, id: int) -> list[dict[str, Any]]:
    """The newest lines of the log."""
    try:
        lines = await newest_lines(engine, id, MOST_LINES)
    except KeyMissing:
        return [{"text": "encrypted; the program that has the keys can read it with oban.logs()"}]
    return [{"number": line.number, "text": text_of_line(line)} for line in lines]


def as_text(job: Mapping[str, Any]) -> str:
    """The details of `job` for people: first one line per fact, then the long values."""
    lines = [f"job {job['id']} is {job['state']}{_asked(job)}", ""]
    facts = {
        "worker": job["worker"],
        "queue": job["queue"],
        "priority": job["priority"],
        "attempt": f"{job['attempt']} of {job['max_attempts']}",
        "tags": ", ".join(job["tags"]),
        "nodes": ", ".join(job["attempted_by"]),
        **{name.removesuffix("_at"): _moment(job[name]) for name in _TIMES},
        "waited": "" if job["queue_time"] is None else span(job["queue_time"]),
        "ran": "" if job["duration"] is None else span(job["duration"]),
        "workflow": "" if job["workflow"] is None else _workflow(job["workflow"]),
        "batch": "" if job["batch"] is None else _batch(job["batch"]),
        "chain": "" if job["chain"] is None else f"by {job['chain']}",
        "progress": "" if job["progress"] is None else _progress(Progress(**job["progress"])),
    }
    lines += [f"{name:<10} {value}" for name, value in facts.items() if value != ""]
    for name in ("args", "meta"):
        lines += [
            "",
            f"{name} (encrypted)" if is_sealed(job[name]) else name,
            _indented(_bounded(json.dumps(job[name], indent=2, ensure_ascii=False))),
        ]
    for name, line in (("steps", _step), ("signals", _signal)):
        if rows := job[name]:
            before = len(rows) - MOST_ROWS
            more = [f"  … {before:,} before these; --json prints all"] if before > 0 else []
            lines += ["", name, *more, *(_indented(line(row)) for row in rows[-MOST_ROWS:])]
    if job["log"]:
        lines += ["", "log", _indented("\n".join(line["text"] for line in job["log"]))]
    for error in job["errors"]:
        lines += ["", *_error(error)]
    return "\n".join(lines)


def _progress(progress: Progress) -> str:
    return f"{bar(progress)} {words(progress)}, {ago(progress.at)}".lstrip()


def _workflow(flow: Mapping[str, Any]) -> str:
    return f"{flow['id']}, node {flow['node']!r}"


def _batch(batch: Mapping[str, Any]) -> str:
    name = f" {batch['name']!r}" if batch["name"] else ""
    counts = ", ".join(f"{number:,} {state}" for state, number in sorted(batch["jobs"].items()))
    callback = f", of which it is the callback on_{batch['callback']}" if batch["callback"] else ""
    return f"{batch['id']}{name}{callback}: {counts or 'no jobs'}"


def _asked(job: Mapping[str, Any]) -> str:
    return ", and was asked to stop" if job["cancel_at"] is not None and job["state"] == "executing" else ""


def _step(step: Mapping[str, Any]) -> str:
    """A step in one line: its name, its time, and its value."""
    until = "" if step["until"] is None else f", until {_moment(step['until'])}"
    match step["kind"]:
        case "step" | "signal":
            end = f" = {_short(step['value'])}"
        case "timeout":
            end = ", no signal came"
        case _:
            end = until
    return f"{step['name']}  {_moment(step['at'])}{end}"


def _signal(signal: Mapping[str, Any]) -> str:
    taken = "not taken" if signal["taken"] is None else f"taken by wait {signal['taken']}"
    return f"{signal['name']}  {_moment(signal['at'])}, {taken} = {_short(signal['payload'])}"


def _short(value: Any) -> str:
    return textwrap.shorten(json.dumps(value, ensure_ascii=False), 200, placeholder=" …")


def _error(error: Any) -> list[str]:
    if not isinstance(error, dict):  # written by another program
        return ["error", _indented(str(error))]
    entry: dict[str, Any] = dict(error)  # pyright: ignore[reportUnknownArgumentType]
    heading = f"error in attempt {entry.get('attempt', '?')}, {_time_of_error(entry.get('at'))}"
    return [heading, _indented(str(entry.get("error", "")))]


def _time_of_error(at: Any) -> str:
    """The time of an error, which is stored as text."""
    try:
        moment = datetime.fromisoformat(str(at))
    except ValueError:
        return "at an unknown time" if at is None else f"at {at}"
    return _moment(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _moment(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z ({ago(moment)})"


def _bounded(text: str) -> str:
    more = len(text) - LONGEST_TEXT
    return text if more <= 0 else f"{text[:LONGEST_TEXT]}\n… {more:,} more characters; --json prints all"


def _indented(text: str) -> str:
    return textwrap.indent(text, "  ")
