"""What the jobs of a group of failures have in common, and what the newest of them has raised."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from ..insight.failures import Failure
from ..insight.json_text import as_object
from ..insight.search import is_loaded, load
from ..models import Job
from ..statements.search import last_texts
from ..telemetry.gist import gist
from .ask import Redact
from .redaction import shown

SAMPLE = 20
"""Of so many jobs, those that failed last."""
LEAST = 3
"""Fewer jobs have everything in common, which says nothing."""
SHARE = 0.9
LONGEST_TRACE = 2_000
LONGEST_VALUE = 100


@dataclass(frozen=True, slots=True)
class Fact:
    """What nearly all jobs of a group have in common.

    :ivar name: as the list of jobs searches for it: ``args.tenant_id``, ``queue``, ``node`` or ``tag``.
    :ivar value: as it is shown.
    :ivar search: as the list of jobs searches for it; None where it can't.
    :ivar jobs: how many of the sample have it.
    """

    name: str
    value: str
    search: str | None
    jobs: int


@dataclass(frozen=True, slots=True)
class Alike:
    """What is known of a group besides its error.

    :ivar gist: what the newest job has raised, in one line; None where that is gone.
    :ivar trace: the end of what the newest job has raised; None where it is gone.
    :ivar is_cut: whether the trace is longer.
    :ivar sample: how many jobs were looked at.
    :ivar facts: what nearly all of these have in common.
    """

    gist: str | None
    trace: str | None
    is_cut: bool
    sample: int
    facts: tuple[Fact, ...]


def alike(connection: Connection, group: Failure, redact: Redact | None) -> Alike:
    """What the jobs of a group have in common, and what the newest has raised."""
    sample = load(connection, group.newest_ids(SAMPLE))
    last = connection.execute(last_texts([group.newest], LONGEST_TRACE)).one_or_none()
    trace, length = (None, 0) if last is None else (last.text, last.length)
    facts = tuple(fact for fact in _facts(sample, redact) if fact.name != "queue" or len(group.queues) > 1)
    return Alike(gist(trace), trace, length > LONGEST_TRACE, len(sample), facts)


def _facts(sample: Sequence[Job], redact: Redact | None) -> Iterable[Fact]:
    if len(sample) < LEAST:
        return
    counted = Counter(fact for job in sample for fact in _of(job, redact))
    for (name, value, search), number in sorted(counted.items()):
        if number >= SHARE * len(sample):
            yield Fact(name, value, search or None, number)


def _of(job: Job, redact: Redact | None) -> set[tuple[str, str, str]]:
    found = {("queue", job.queue, job.queue), *(("tag", tag, tag) for tag in job.tags)}
    if job.attempted_by:
        found.add(("node", job.attempted_by[0], job.attempted_by[0]))
    args = shown(job, redact)
    if args.kind == "plain":
        for name, value in as_object(args.value).items():
            # What `redact` puts in has nothing to do with the job.
            if redact is None or (is_loaded(job, "args") and name in job.args and job.args[name] == value):
                found.add(_argument(name, value))
    return found


def _argument(name: str, value: object) -> tuple[str, str, str]:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    # A dot the search takes for keys inside each other.
    can_search = len(text) <= LONGEST_VALUE and name and "." not in name
    return f"args.{name}", text, text if can_search else ""
