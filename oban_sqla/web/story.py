"""The life of a job as a line drawn to scale, and in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from ..models import Job
from .words import span

LENGTH = 1_000.0
"""The length of the line, whatever its width on the page."""
SMALLEST = 6.0
"""The smallest width of a mark, so that it is visible."""
TICKS = 5
"""Lengths of time that are written below the line."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A part of the line.

    :ivar kind: its CSS class: a state.
    :ivar x: where it begins.
    :ivar width: its length.
    :ivar label: what it is.
    """

    kind: str
    x: float
    width: float
    label: str


@dataclass(frozen=True, slots=True)
class Event:
    """Something that has happened to the job, or will happen.

    :ivar kind: its CSS class: a state.
    :ivar what: what it is, in words.
    :ivar at: when it happens.
    :ivar after: how long that is after the job was enqueued, in words; None for the enqueueing.
    """

    kind: str
    what: str
    at: datetime
    after: str | None


@dataclass(frozen=True, slots=True)
class Story:
    """The life of a job.

    :ivar marks: the parts of the line.
    :ivar now: the place of the present on the line; None for a job that has finished.
    :ivar ticks: the words below the line, with equal distances.
    :ivar events: what happened, in order.
    """

    marks: tuple[Mark, ...] = ()
    now: float | None = None
    ticks: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()


def story_of(job: Job, failures: Iterable[tuple[object, datetime | None]], now: datetime) -> Story:
    """The life of `job`.

    :param failures: the number and the time of each failed attempt, the first one first.
    :param now: the present.
    """
    first, failed = job.inserted_at, [(number, at) for number, at in failures if at is not None]
    ended = job.completed_at or job.discarded_at or job.cancelled_at
    waits = job.state in ("scheduled", "retryable")
    try:
        last = ended or (max(now, job.scheduled_at) if waits else now)
        length = max((last - first).total_seconds(), 0.001)
    except (OverflowError, TypeError):  # a time that another program wrote
        return Story()

    def place(at: datetime) -> float:
        return min(max((at - first).total_seconds() / length, 0.0), 1.0) * LENGTH

    def mark(kind: str, at: datetime, until: datetime | None, label: str) -> Mark:
        begins = min(place(at), LENGTH - SMALLEST)
        width = max((begins if until is None else place(until)) - begins, SMALLEST)
        return Mark(kind, round(begins, 1), round(width, 1), label)

    marks = [mark("scheduled", first, None, "enqueued")]
    events = [Event("scheduled", "enqueued", first, None)]

    def happened(kind: str, what: str, at: datetime) -> None:
        events.append(Event(kind, what, at, span((at - first).total_seconds()) if at > first else None))

    if job.scheduled_at > first and (waits or not failed):
        happened("available", "due" if not failed else f"attempt {job.attempt + 1} is due", job.scheduled_at)
        marks.append(mark("available", job.scheduled_at, None, "due"))
    for number, at in failed:
        happened("discarded", f"attempt {number} failed", at)
        marks.append(mark("discarded", at, None, f"attempt {number} failed"))
    if (began := job.attempted_at) is not None:
        ran_until = _end_of_run(job, began, [at for _, at in failed], ended, now)
        on = f" on {job.attempted_by[0]}" if job.attempted_by else ""
        # A run that slept, was snoozed or was given back has no number, because it does not count as an attempt.
        name = "last" if ran_until is None else f"attempt {job.attempt}"
        happened("executing", f"{name} started{on}", began)
        kind = "discarded" if job.state in ("discarded", "retryable") else str(job.state)
        lasted = " started" if ran_until is None else f", {span((ran_until - began).total_seconds())}"
        marks.append(mark(kind, began, ran_until, name + lasted))
    if ended is not None:
        happened(str(job.state), str(job.state), ended)
    events.sort(key=lambda event: event.at)
    return Story(
        tuple(marks), None if ended is not None else round(place(now), 1), _ticks(length), tuple(events)
    )  # fmt: skip


def _end_of_run(
    job: Job, began: datetime, failed: Sequence[datetime], ended: datetime | None, now: datetime
) -> datetime | None:
    """When the last attempt ended; None when that is not known."""
    if job.state == "executing":
        return now
    if (at := next((at for at in failed if at >= began), None)) is not None:
        return at
    # A cancelled job with a later time had ended its run before: it waited for that time when it was cancelled.
    return ended if job.state != "cancelled" or job.scheduled_at <= began else None


def _ticks(length: float) -> tuple[str, ...]:
    """Lengths of time, from the beginning to the end of the line."""
    if length < 0.001 * (TICKS - 1):  # too short for different words in between
        return ("0", span(length))
    step = length / (TICKS - 1)
    return ("0", *(span(step * number) for number in range(1, TICKS)))
