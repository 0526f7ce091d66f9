"""One job: why it is not running, what happened to it, and what it was given."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.orm import Session

from ...insight.failures import Failure
from ...insight.json_text import as_object, written
from ...insight.kept import kept
from ...insight.neighbours import neighbours
from ...insight.search import give, set_times
from ...insight.why import Why, why
from ...models import Job
from ...models.job import jobs as table
from ...options.encryption import is_sealed
from ...statements.glance import lately
from ...statements.search import as_text, without
from ...statements.times import TIMES, readable
from ...telemetry.gist import gist
from ...workers.registry import workers
from ..actions.form import as_line
from ..ask import Ask, Content, NotFound, Redact, Refused, no_job, whole
from ..redaction import Shown, cut, of_text, shown
from ..render import digest
from ..story import Story, story_of
from ..words import LONGEST_ERROR, shortened
from .failures import failed
from .jobs import moment_of

LONGEST_TEXT, LONGEST_WHOLE = 20_000, 1_000_000
"""Characters of args and meta that are shown: at first, and when the operator asks for all."""
LONGEST_REDACTED = 2_000_000
"""Most characters of args that are given to `redact`."""
LONGEST_TRACE = 100_000
"""Characters of a traceback that are shown when the operator asks for all."""
ATTEMPTS = 100
"""Failed attempts that are shown: the last ones."""
RECENT_RUNS = 100
"""Runs of the same worker that are summed up: the last ones."""
WINDOW = 20_000
"""The newest jobs among which these runs are sought."""
PATIENCE = 0.2
"""Seconds that this page waits for the jobs that failed in the same way."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A failed attempt.

    :ivar number: of the attempt.
    :ivar at: when it failed; None when the time can't be read.
    :ivar gist: its error in one line.
    :ivar text: its error; the end of it when it is long.
    :ivar cut: whether `text` is only the end.
    """

    number: int | None
    at: datetime | None
    gist: str
    text: str
    cut: bool


@dataclass(frozen=True, slots=True)
class Detail:
    """Everything about a job that its page shows."""

    job: Job
    cancel_at: datetime | None
    args: Shown
    meta: Shown
    result: Shown | None
    attempts: tuple[Attempt, ...]
    story: Story
    began: datetime
    ended: datetime
    at: datetime | None
    unique: bool
    is_whole: bool
    """Whether all of the args are shown, and unchanged."""


async def job(ask: Ask, rest: str) -> Content:
    """The page of a job."""
    id = _id(rest)
    redact, whole_text = ask.redact, ask.one("show") == "all"

    def read(connection: Connection) -> Detail | None:
        return detail(connection, id, redact, whole_text)

    found = await ask.read(("job", id, whole_text), read)
    if found is None:
        raise no_job(id)
    reasons = await ask.share(("why", id), lambda: _why(ask, id))
    around = await ask.read(("neighbours", id), lambda connection: neighbours(connection, id))
    context = {
        "found": found,
        "job": found.job,
        "why": reasons,
        "around": around,
        "kept": await ask.read(("kept", id), lambda connection: kept(connection, id)),
        "recent": await _recent(ask, found.job.worker),
        "like": await _like(ask, found),
        "whole": whole_text,
    }
    return Content("job.html", f"Job {id}", context, "jobs", trail=(("jobs", "Jobs"),))


async def edit(ask: Ask, rest: str) -> Content:
    """The form that changes a waiting job."""
    _allow(ask, "edit", "edit jobs")
    id = _id(rest)
    found = await ask.read(("job", id, True), lambda connection: detail(connection, id, ask.redact, True))
    if found is None:
        raise no_job(id)
    shown_here = {
        "args": written(found.args.value) if found.is_whole else None,
        "meta": written(found.meta.value) if found.meta.kind == "plain" else None,
        "tags": as_line(found.job.tags),
    }
    options = {name: str(getattr(found.job, name)) for name in ("queue", "priority", "max_attempts")}
    seen = {name: digest(text) for name, text in (options | shown_here).items() if text is not None}
    context = {"found": found, "job": found.job, **shown_here, "seen": seen}
    return Content("edit.html", f"Edit job {id}", context, "jobs", False, (("jobs", "Jobs"), (f"job/{id}", str(id))))


async def new(ask: Ask, _rest: str) -> Content:
    """The form of a new job, empty or filled in like another job."""
    _allow(ask, "enqueue", "enqueue jobs")
    like = ask.whole("like")
    found = None
    if like is not None:
        found = await ask.read(("job", like, True), lambda connection: detail(connection, like, ask.redact, True))
        if found is None:
            raise no_job(like)
    context = {
        "job": None if found is None else found.job,
        "args": written(found.args.value) if found is not None and found.is_whole else "{}",
        "tags": "" if found is None else as_line(found.job.tags),
        "hidden": None if found is None or found.is_whole else found.args.kind,
        "workers": sorted(workers),
    }
    return Content("new.html", "New job", context, "jobs", False, (("jobs", "Jobs"),))


def _allow(ask: Ask, verb: str, what: str) -> None:
    """Show a form only to an operator who may send it.

    :raises Refused: for anybody else.
    """
    if not ask.operator.may(verb):
        raise Refused(f"You may not {what}.")


def detail(connection: Connection, id: int, redact: Redact | None, whole_text: bool) -> Detail | None:
    """Everything about a job that its page shows; None when there is no such job."""
    longest = LONGEST_WHOLE if whole_text else LONGEST_TEXT
    most = longest if redact is None else LONGEST_REDACTED
    with Session(connection) as session:
        times = [readable(table.c[name]) for name in ("cancel_at", *TIMES)]
        columns: list[Any] = [Job, table.c.uniq_mask, *times]
        query = select(*columns).options(*without(*TIMES, "args", "meta", "errors")).where(Job.id == id)
        found: Any = session.execute(query).one_or_none()
        if found is None:
            return None
        job: Job = found[0]
        set_times(job, found[3:])
        texts = connection.execute(as_text(id, most, ATTEMPTS, LONGEST_TRACE)).one()
        for name in ("args", "meta"):
            give(job, name, getattr(texts, name) if len(getattr(texts, name)) < most else None)
        session.expunge_all()
    args = of_text(texts.args, texts.args_length) if redact is None else cut(shown(job, redact), longest)
    meta = of_text(texts.meta[:longest], texts.meta_length)
    now = datetime.now(UTC)
    attempts = _attempts(texts.errors, whole_text)
    return Detail(
        job=job,
        cancel_at=found[2],
        args=args,
        meta=meta,
        result=_result(meta, args),
        attempts=tuple(attempts),
        story=story_of(job, [(one.number or "?", one.at) for one in reversed(attempts)], now),
        began=job.inserted_at,
        ended=job.completed_at or job.discarded_at or job.cancelled_at or now,
        at=moment_of(job),
        unique=bool(found[1]),
        is_whole=args.kind == "plain" and (redact is None or args.value == job.args),
    )


def _result(meta: Shown, args: Shown) -> Shown | None:
    """What the job has returned, taken out of `meta`; None when it has recorded nothing."""
    notes = as_object(meta.value) if meta.kind == "plain" else {}
    if "return" not in notes:
        return None
    result = notes.pop("return")
    return Shown("encrypted") if is_sealed(result) or args.kind == "encrypted" else Shown("plain", result)


def _id(rest: str) -> int:
    id = whole(rest)
    if id is None:
        raise NotFound(f"{rest!r} is not the id of a job.")
    return id


async def _why(ask: Ask, id: int) -> Why:
    place = ask.place
    async with place.connection():
        return await why(place.engine, place.config, id)


async def _like(ask: Ask, found: Detail) -> Failure | None:
    """The group of failures to which this job belongs; None when there is none, or when reading takes too long."""
    if not found.attempts or found.job.state not in ("retryable", "discarded"):
        return None
    every = (await failed(ask, patience=PATIENCE)).found
    return None if every is None else every.of(found.job.id)


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


def _attempts(errors: str | None, whole_text: bool) -> list[Attempt]:
    """The failed attempts, the last one first, made from what `as_text` has read."""
    made: list[Attempt] = []
    for number, at, text, length in json.loads(errors or "[]"):
        most = LONGEST_TRACE if whole_text else LONGEST_ERROR
        made.append(
            Attempt(
                number=whole(number),
                at=_time(at),
                gist=shortened(gist(text) or "(no message)", 300),
                text=text if length <= most else "…" + text[-most:],
                cut=length > most,
            )
        )
    return made


def _time(text: object) -> datetime | None:
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
