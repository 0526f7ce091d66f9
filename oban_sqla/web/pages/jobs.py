"""The list of jobs: searched, filtered, paged, and changed many at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection
from starlette.responses import Response

from ...insight.glance import Count
from ...insight.jobs import STATES
from ...insight.search import Found, gists, load, search
from ...models import Job
from ..ask import Ask, Content
from ..facets import facets
from ..query import chips, place_of_text, place_to_text, searching, typed
from ..redaction import Shown, matches, shown
from ..shell import shell

PAGE = 50


@dataclass(frozen=True, slots=True)
class Row:
    """A job in a list."""

    job: Job
    args: Shown
    error: str | None
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Listed:
    """The jobs of a page, and how they were found."""

    rows: tuple[Row, ...]
    found: Found


async def jobs(ask: Ask, _rest: str) -> Content | Response:
    """The jobs that a search finds."""
    if (text := ask.one("q")) is not None:
        return _canonical(ask, text)
    wanted, kept = searching(ask.params)
    after = place_of_text(ask.one("after"), wanted.walk.keys)
    redact = ask.redact

    def read(connection: Connection) -> Listed:
        found = search(connection, wanted, PAGE, after)
        errors = gists(connection, found.ids) if found.ids else {}
        made = [Row(job, shown(job, redact), errors.get(job.id), moment_of(job)) for job in load(connection, found.ids)]
        rows = (row for row in made if redact is None or not wanted.args or matches(row.args, wanted.args))
        return Listed(tuple(rows), found)

    panel = await ask.panel(("jobs", kept, after), read)
    around = await shell(ask)
    context = {
        "panel": panel,
        "wanted": wanted,
        "kept": kept,
        "chips": chips(kept),
        "states": _state_links(kept, {} if around is None else around.counts),
        "facets": await facets(ask),
        "without": without(kept),
        "more": None if panel.found is None else place_to_text(panel.found.found.more),
        "first": after is None,
        "oldest_first": not wanted.walk.descending,
    }
    return Content("jobs.html", "Jobs", context, "jobs")


def moment_of(job: Job) -> datetime | None:
    """When a job entered its state; for a job that waits, when it is due."""
    match job.state:
        case "suspended":
            return job.inserted_at
        case "executing":
            return job.attempted_at
        case "completed" | "cancelled" | "discarded":
            at: datetime | None = getattr(job, f"{job.state}_at")
            return at
        case _:
            return job.scheduled_at


def without(kept: tuple[tuple[str, str], ...]) -> Mapping[str, list[tuple[str, str]]]:
    """For each name of a filter, the parameters that remain without it."""
    return {name: [pair for pair in kept if pair[0] != name] for name in ("state", "queue", "node", "worker")}


def _canonical(ask: Ask, text: str) -> Response:
    _, kept = searching(ask.params)
    added, id = typed(text)
    if id is not None:
        return Response(status_code=303, headers={"location": ask.link(f"job/{id}")})
    single = {name for name, _ in added if name != "state"}
    pairs = [*(pair for pair in kept if pair[0] not in single), *added]
    return Response(status_code=303, headers={"location": ask.link("jobs", pairs=dict.fromkeys(pairs))})


def _state_links(
    kept: tuple[tuple[str, str], ...], counts: Mapping[str, Count]
) -> list[tuple[str, Count | None, list[tuple[str, str]], bool]]:
    """For each state its number, the parameters that choose it, and whether it is chosen."""
    chosen = [value for name, value in kept if name == "state"]
    others = [pair for pair in kept if pair[0] != "state"]
    return [
        (state, counts.get(state, Count(0)) if counts else None, [*others, ("state", state)], state in chosen)
        for state in STATES
    ]
