"""Encrypted arguments: whether the nodes have the keys, and which arguments are not encrypted."""

from __future__ import annotations

from collections.abc import Iterator

from ...options.encryption import current
from ...statements.diagnosis import given_back, unencrypted
from ...workers.registry import workers
from ..words import listed
from .backlog import MOST_UNKNOWN, UNKNOWN_WITHIN
from .database import Database
from .finding import Finding, ok, problem, warning

MOST_LOOKED_AT = 20_000
"""Jobs of each state that are read to find arguments in plain text."""


def encryption(database: Database) -> Iterator[Finding]:
    """Jobs that no key opens, and waiting jobs in plain text whose worker encrypts, if it is known in this process."""
    findings = [*_unopened(database), *_plain(database)]
    names = sorted(workers.encrypted)
    if names and current() is None:
        findings.append(
            problem(
                f"this process has no keys, and knows workers that encrypt their arguments: {listed(names)}",
                "it can neither enqueue nor run their jobs",
                "Oban(engine, encryption=Encryption(keys=[…])), or configure_encryption([…])",
            )
        )
    count = f"{len(names)} workers" if len(names) != 1 else "1 worker"
    yield from findings or [
        ok(f"{count} known here encrypt their arguments" if names else "no worker known here encrypts its arguments")
    ]


def _unopened(database: Database) -> Iterator[Finding]:
    given = {"mark": "missing_key", "within": UNKNOWN_WITHIN, "most": MOST_UNKNOWN}
    if rows := given_back.execute(database.connection, **given).all():
        jobs = sum(row.jobs for row in rows)
        yield warning(
            f"{jobs:,} {'job waits' if jobs == 1 else 'jobs wait'} for a node whose keys open the arguments: "
            f"{listed(row.worker for row in rows)}",
            "a node without the key gives the job back, each time for up to five minutes",
            "this is normal while keys are rotated; otherwise give the key that encrypted them to every node",
        )


def _plain(database: Database) -> Iterator[Finding]:
    if not (names := sorted(workers.encrypted)):
        return
    for row in unencrypted.execute(database.connection, names=names, most=MOST_LOOKED_AT):
        yield warning(
            f"{row.jobs:,} waiting {'job' if row.jobs == 1 else 'jobs'} of {row.worker!r} "
            f"{'is' if row.jobs == 1 else 'are'} in plain text (the first {MOST_LOOKED_AT:,} of each state looked at)",
            "they were enqueued by name in a process that does not import the worker, or before it encrypted",
            "import the worker's module where its jobs are enqueued; they run all the same",
        )
