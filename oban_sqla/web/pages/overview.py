"""The overview: first what needs a person's attention, then figures, charts and queues."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from heapq import nlargest

from ...insight import glance
from ...insight.failures import Failures
from ...insight.series import Histogram, Series
from ..ask import Ask, Content, Periods
from ..plots import ended, plots
from ..words import number, plural, span
from .failures import failed
from .queues import All, all_queues, sparks
from .system import findings

QUEUES = 50
"""Queues that are listed; of more, those in which most jobs wait."""
PATIENCE = 0.1
"""Seconds that this page waits for the doctor."""
LONG_WAIT = 60.0
"""Seconds after which a job that waits needs attention."""
MANY_FAILURES = 5
"""Failures of one kind within the last 15 minutes that need attention."""
SAID_HERE = ("backlog", "living_nodes")
"""Checks of the doctor that are left out, because this page has newer figures."""
QUARTER = 8
"""Parts of :attr:`Failure.hour` that cover the last 15 minutes."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that needs a person's attention.

    :ivar kind: ``"bad"`` or ``"warn"``.
    :ivar name: what it is about.
    :ivar text: what is wrong.
    :ivar soft: details, in smaller letters.
    :ivar path: of the page with the next step.
    :ivar params: of that page.
    :ivar step: what to do there.
    :ivar at: when it began; None when that is not known.
    """

    kind: str
    name: str
    text: str
    soft: str
    path: str
    params: dict[str, str]
    step: str
    at: datetime | None = None


async def overview(ask: Ask, _rest: str) -> Content:
    """The first page."""
    found = await all_queues(ask)
    of_hour = await ended(ask)
    recent = await failed(ask)
    due = await ask.panel("due", glance.due, 5.0)
    examined = await findings(ask, PATIENCE)
    notices = [
        *_nodes(found),
        *_failures(recent.found),
        *_queues(found),
        *(
            Notice("bad" if one.status == "problem" else "warn", one.check.replace("_", " "), one.found, one.advice,
                   "system", {}, "See the system")
            for one in examined.found or []
            if one.status in ("problem", "warning") and one.check not in SAID_HERE
        ),
    ]  # fmt: skip
    drawn = await plots(ask)
    busiest = found.queues
    if len(busiest) > QUEUES:
        busiest = tuple(nlargest(QUEUES, busiest, key=lambda queue: (queue.waiting.number, queue.busy, queue.rate)))
    context = {
        "notices": notices[:12],
        "beyond": max(len(notices) - 12, 0),
        "all": found,
        "due": sum((due.found or {}).values(), glance.Count(0)),
        "again": (due.found or {}).get("retryable", glance.Count(0)),
        "rate": sum(queue.rate for queue in found.queues),
        "wait": _wait(of_hour),
        "failing": _failing(of_hour),
        "plots": drawn,
        "busiest": busiest,
        "sparks": {queue.queue: sparks(of_hour, queue.queue) for queue in busiest},
    }
    return Content("overview.html", "Overview", context, periods=Periods(drawn.period) if drawn.all else None)


def _nodes(found: All) -> list[Notice]:
    if found.roster.alive:
        return []
    advice = "Start one with oban-sqla start, or Oban(…).start()"
    return [Notice("bad", "nodes", "No node is alive: no job runs.", advice, "nodes", {}, "See nodes")]


def _failures(found: Failures | None) -> list[Notice]:
    made: list[Notice] = []
    for group in () if found is None else found.groups:
        lately = sum(group.hour[-QUARTER:])
        if lately >= MANY_FAILURES:
            text = f"fails: {plural(lately, 'job')} in the last 15 minutes."
            step = f"See the {plural(group.number, 'failure')}"
            chosen = {"of": group.worker, "like": group.signature}
            made.append(Notice("bad", group.worker, text, group.error, "failures", chosen, step))
    return made[:5]


def _queues(found: All) -> list[Notice]:
    made: list[Notice] = []
    for queue in found.queues:
        at = {"name": queue.queue}
        waits = f"{_jobs(queue.waiting)}, the first for {span(queue.oldest)}"
        if queue.state in ("paused", "partly paused"):
            pause = found.pauses.get(queue.queue)
            who = "" if pause is None else f"by {pause.who}" + (f": “{pause.reason}”" if pause.reason else "")
            since = None if pause is None else pause.at
            made.append(Notice("warn", queue.queue, f"is {queue.state}.", who, "queue", at, "Resume", since))
        elif queue.state in ("stopped", "not run") and queue.waiting.number:
            what = "is stopped" if queue.state == "stopped" else "is not run by any node"
            made.append(Notice("bad", queue.queue, f"{what}: {waits}.", "", "queue", at, "Start it"))
        elif queue.oldest is not None and queue.oldest > LONG_WAIT:
            use = f"{queue.busy} of {queue.slots} slots in use."
            made.append(
                Notice("warn", queue.queue, f"{waits}; {use}", _empty_in(queue), "queue", at, "Change its limit")
            )
    return made


def _empty_in(queue: glance.QueueGlance) -> str:
    if queue.rate <= 0 or queue.waiting.kind != "exact":
        return ""
    return f"At {round(queue.rate * 60):,} a minute it is empty in {span(queue.waiting.number / queue.rate)}"


def _wait(ended: Series | None) -> float | None:
    """Within how many seconds 95 of 100 jobs of the last minutes started."""
    every = Histogram()
    for step in () if ended is None else ended.steps[-5:]:
        every.add(step.wait.counts.keys(), step.wait.counts.values())
    return every.quantile(0.95)


def _failing(ended: Series | None) -> float | None:
    """The share of the period's runs that failed, from 0 to 1; None without runs."""
    steps: Sequence[object] = [] if ended is None else ended.steps
    if not steps or ended is None:
        return None
    failed = sum(ended.of("retryable")) + sum(ended.of("discarded"))
    every = failed + sum(ended.of("completed")) + sum(ended.of("cancelled"))
    return failed / every if every else None


def _jobs(waiting: glance.Count) -> str:
    return "1 job waits" if waiting.number == 1 else f"{number(waiting)} jobs wait"
