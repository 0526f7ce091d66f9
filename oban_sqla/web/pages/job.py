"""One job: why it is not running, what happened to it, and what it was given."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy import Connection, select
from sqlalchemy.orm import Session

from ...insight.failures import last_line
from ...insight.kept import kept
from ...insight.neighbours import neighbours
from ...insight.why import Why, why
from ...models import Job
from ...models.job import jobs as table
from ...options.encryption import is_sealed
from ...statements.glance import lately
from ...statements.search import as_text
from ..ask import Ask, Content, NotFound, whole
from ..redaction import Shown, shown
from ..words import LONGEST_ERROR, exact, shortened
from .jobs import moment_of

LARGEST_SHOWN = 100_000
RECENT_RUNS = 100
WINDOW = 20_000


@dataclass(frozen=True, slots=True)
class Attempt:
    """A failed attempt.

    :ivar number: of the attempt.
    :ivar at: when it failed; None where that can't be read.
    :ivar gist: what its error says, in one line.
    :ivar text: the error; cut where it is long.
    :ivar cut: whether there is more of it.
    """

    number: int | None
    at: datetime | None
    gist: str
    text: str
    cut: bool


@dataclass(frozen=True, slots=True)
class Mark:
    """A point or part of the line of a job's life, in thousandths of its length."""

    kind: str
    x: float
    width: float
    label: str


@dataclass(frozen=True, slots=True)
class Detail:
    """A job, for its page."""

    job: Job
    cancel_at: datetime | None
    args: Shown
    meta: Any
    result: Any
    has_result: bool
    attempts: tuple[Attempt, ...]
    story: tuple[Mark, ...]
    began: datetime
    ended: datetime
    at: datetime | None
    unique: bool


async def job(ask: Ask, rest: str) -> Content:
    """The page of a job."""
    id = _id(rest)
    redact, whole_text = ask.redact, ask.one("show") == "all"

    def read(connection: Connection) -> Detail | None:
        return detail(connection, id, redact, whole_text)

    found = await ask.read(("job", id, whole_text), read)
    if found is None:
        raise NotFound(f"There is no job {id}: it was deleted, pruned, or never committed.")
    reasons = await ask.share(("why", id), lambda: _why(ask, id))
    around = await ask.read(("neighbours", id), lambda connection: neighbours(connection, id))
    context = {
        "found": found,
        "job": found.job,
        "why": reasons,
        "around": around,
        "kept": await ask.read(("kept", id), lambda connection: kept(connection, id)),
        "recent": await _recent(ask, found.job.worker),
        "whole": whole_text,
    }
    return Content("job.html", f"Job {id}", context, "jobs", trail=(("jobs", "Jobs"),))


async def edit(ask: Ask, rest: str) -> Content:
    """The form that changes a waiting job."""
    id = _id(rest)
    found = await ask.read(("job", id, True), lambda connection: detail(connection, id, ask.redact, True))
    if found is None:
        raise NotFound(f"There is no job {id}.")
    context = {"found": found, "job": found.job, "args": _pretty(found.args), "meta": _as_json(found.job.meta)}
    return Content("edit.html", f"Edit job {id}", context, "jobs", None, (("jobs", "Jobs"), (f"job/{id}", str(id))))


async def new(ask: Ask, _rest: str) -> Content:
    """The form of a new job, empty or like another job."""
    like = ask.whole("like")
    found = None
    if like is not None:
        found = await ask.read(("job", like, True), lambda connection: detail(connection, like, ask.redact, True))
    context = {
        "job": None if found is None else found.job,
        "args": "{}" if found is None else _pretty(found.args),
        "hidden": found is not None and found.args.kind != "plain",
        "workers": await _workers(),
    }
    return Content("new.html", "New job", context, "jobs", None, (("jobs", "Jobs"),))


async def _workers() -> list[str]:
    from ...workers.registry import workers

    return sorted(workers)


def detail(connection: Connection, id: int, redact: Any, whole_text: bool) -> Detail | None:
    """A job; None where there is none."""
    with Session(connection) as session:
        found = session.execute(select(Job, table.c.cancel_at, table.c.uniq_mask).where(Job.id == id)).one_or_none()
        session.expunge_all()
    if found is None:
        return None
    job: Job = found[0]
    texts = connection.execute(as_text(id)).one()
    meta = _exact(texts.meta)
    args = shown(job, redact)
    if args.kind == "plain" and redact is None:
        args = Shown("plain", _exact(texts.args))
    notes = as_object(meta)
    result = notes.pop("return", None)
    has_result = "return" in as_object(job.meta)
    if has_result and (is_sealed(as_object(job.meta)["return"]) or args.kind == "encrypted"):
        result = Shown("encrypted")
    ended = job.completed_at or job.discarded_at or job.cancelled_at or datetime.now(UTC)
    return Detail(
        job=job,
        cancel_at=found[1],
        args=args,
        meta=meta,
        result=result if isinstance(result, Shown) else Shown("plain", result),
        has_result=has_result,
        attempts=tuple(_attempts(job.errors, whole_text)),
        story=tuple(_story(job, ended)),
        began=job.inserted_at,
        ended=ended,
        at=moment_of(job),
        unique=bool(found[2]),
    )


def _id(rest: str) -> int:
    id = whole(rest)
    if id is None:
        raise NotFound(f"{rest!r} is not the id of a job.")
    return id


async def _why(ask: Ask, id: int) -> Why:
    place = ask.place
    async with place.connection():
        return await why(place.engine, place.config, id)


async def _recent(ask: Ask, worker: str) -> Mapping[str, Any]:
    def read(connection: Connection) -> Mapping[str, Any]:
        rows = lately.execute(connection, worker=worker, window=WINDOW, most=RECENT_RUNS).all()
        ran = sorted(row.ran for row in rows if row.ran is not None)
        failed = sum(row.state == "discarded" for row in rows)
        return {
            "runs": len(rows),
            "failed": failed,
            "p50": ran[len(ran) // 2] if ran else None,
            "p95": ran[min(int(len(ran) * 0.95), len(ran) - 1)] if ran else None,
            "durations": [row.ran or 0.0 for row in reversed(rows)],
        }

    return await ask.read(("lately", worker), read, 10.0)


def _attempts(errors: object, whole_text: bool) -> list[Attempt]:
    made: list[Attempt] = []
    for entry in as_list(errors):
        given = as_object(entry) or {"error": entry}
        text = str(given.get("error", ""))
        most = LARGEST_SHOWN if whole_text else LONGEST_ERROR
        number = given.get("attempt")
        made.append(
            Attempt(
                number=number if isinstance(number, int) else None,
                at=_time(given.get("at")),
                gist=shortened(last_line(text), 300),
                text=text if len(text) <= most else "…" + text[-most:],
                cut=len(text) > most,
            )
        )
    return made[::-1]


def _time(text: object) -> datetime | None:
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _story(job: Job, ended: datetime) -> list[Mark]:
    """The life of a job to scale: when it was enqueued and due, its failures, and its last attempt."""
    first = job.inserted_at
    try:
        length = max((ended - first).total_seconds(), 0.001)
    except (OverflowError, TypeError):
        return []

    def place(at: datetime) -> float:
        return round(min(max((at - first).total_seconds() / length, 0.0), 1.0) * 1_000, 1)

    marks = [Mark("scheduled", 0.0, 6.0, "enqueued")]
    if first < job.scheduled_at < ended:
        marks.append(Mark("available", place(job.scheduled_at), 6.0, "due"))
    for entry in map(as_object, as_list(job.errors)):
        if (at := _time(entry.get("at"))) is not None:
            marks.append(Mark("discarded", place(at), 6.0, f"attempt {entry.get('attempt', '?')} failed"))
    if job.attempted_at is not None:
        begins = place(job.attempted_at)
        ends = place(ended) if job.is_finished or job.state == "executing" else begins
        kind = str(job.state) if job.is_finished or job.state == "executing" else "retryable"
        marks.append(Mark(kind, begins, max(ends - begins, 6.0), f"attempt {job.attempt}"))
    return marks


def as_object(value: object) -> dict[str, Any]:
    """`value`, if it is an object of JSON, else an empty one: other programs write what they like."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def as_list(value: object) -> list[object]:
    """`value`, if it is a list, else an empty one."""
    return cast("list[object]", value) if isinstance(value, list) else []


def _exact(text: str) -> Any:
    try:
        return exact(text)
    except ValueError:
        return text


def _as_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def _pretty(args: Shown) -> str:
    return _as_json(args.value) if args.kind == "plain" else "{}"
