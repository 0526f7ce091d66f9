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
"""Most jobs that are compared: those that failed last."""
LEAST = 3
"""Fewer jobs than these are not compared: what they have in common says nothing."""
SHARE = 0.9
"""The part of the sample that must have a fact in common."""
LONGEST_TRACE = 2_000
"""Characters of a traceback that are shown."""
LONGEST_VALUE = 100
"""Characters of an argument by which the list of jobs can be searched."""


@dataclass(frozen=True, slots=True)
class Fact:
    """What nearly all jobs of a group have in common.

    :ivar name: what is equal, in the search of the list of jobs: ``args.tenant_id``, ``queue``, ``node`` or ``tag``.
    :ivar value: its value, as it is shown.
    :ivar search: its value in the search of the list of jobs; None when that can't search for it.
    :ivar jobs: how many jobs of the sample have this value.
    """

    name: str
    value: str
    search: str | None
    jobs: int


@dataclass(frozen=True, slots=True)
class Alike:
    """What is known of a group besides its error.

    :ivar gist: the error of the newest job, in one line; None when it is gone.
    :ivar trace: the end of the newest job's traceback; None when it is gone.
    :ivar is_cut: whether the traceback is longer.
    :ivar sample: how many jobs were compared.
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
            # A value that `redact` has put in says nothing about the job.
            if redact is None or (is_loaded(job, "args") and name in job.args and job.args[name] == value):
                found.add(_argument(name, value))
    return found


def _argument(name: str, value: object) -> tuple[str, str, str]:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    # The search would take a name with a dot as two keys, one inside the other.
    can_search = len(text) <= LONGEST_VALUE and name and "." not in name
    return f"args.{name}", text, text if can_search else ""
