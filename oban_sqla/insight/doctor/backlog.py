"""The jobs that wait too long, that no node can run, or that are too large."""

from __future__ import annotations

from collections.abc import Iterator

from ...statements import catalog
from ...statements.diagnosis import given_back, heads, sample
from ...statements.diagnosis import overdue as overdue_of
from ...telemetry.printable import shell_word
from ..words import listed, meant, span
from .database import Database
from .finding import Finding, ok, problem, warning

MOST_HEADS = 2_000
"""Pairs of queue and priority that are visited."""

UNSERVED, BEHIND, PAUSED = 60.0, 600.0, 3_600.0
"""Seconds for which the oldest job of a queue may wait: when no node works it, when one does, when it is paused."""

LATE = 60.0
"""Seconds after which a job that is due should have been staged. Without a leader a node does it after two seconds."""

UNKNOWN_WITHIN, MOST_UNKNOWN = 360.0, 5_000
"""Jobs that were given back are due within five minutes: the seconds in which they are sought, and most of them."""

SAMPLED_BLOCKS = 200
"""Pages of the table that are sampled."""
LARGE_ON_AVERAGE, LARGE = 2_000, 100_000
"""Stored bytes beyond which there is a warning: args on average, and args or errors of one job."""


def backlog(database: Database) -> Iterator[Finding]:
    """Queues whose jobs wait, by the age of the oldest job, and why."""
    oldest: dict[str, float] = {}
    for row in heads.execute(database.connection, most=MOST_HEADS):
        oldest[row.queue] = max(oldest.get(row.queue, 0.0), 0.0 if row.seconds is None else row.seconds)
    findings = [finding for queue, age in oldest.items() for finding in _waiting(database, queue, age)]
    longest = max(oldest.values(), default=0.0)
    yield from findings or [
        ok(f"queues with waiting jobs: {len(oldest)}, the oldest job for {span(longest)}" if oldest else "no jobs wait")
    ]


def _waiting(database: Database, queue: str, age: float) -> Iterator[Finding]:
    members, word = database.roster.of(queue), shell_word(queue)
    found = f"available jobs of queue {queue!r} have been waiting for {span(age)}"
    if not members:
        if age >= UNSERVED:
            running = {member.queue for member in database.roster.alive}
            advice = f"oban-sqla start ... --queues {word}=10, or oban-sqla queues start {word} --limit 10"
            text = f"{found}, and no living node runs the queue{meant(queue, running)}"
            yield problem(text, f"nothing runs them; running queues: {listed(running)}", advice)
    elif all(member.paused for member in members):
        if age >= PAUSED:
            yield warning(f"{found}, and it is paused", "no node fetches them", f"oban-sqla queues resume {word}")
    elif age >= BEHIND:
        yield warning(
            found,
            "more jobs arrive than are finished, or something holds the oldest job back",
            f"oban-sqla why ID, for the oldest job; then oban-sqla queues scale {word} N, or more nodes",
        )


def overdue(database: Database) -> Iterator[Finding]:
    """Scheduled and retryable jobs that are due and not made available."""
    row = overdue_of.execute(database.connection, grace=LATE).one_or_none()
    if row is None:
        yield ok("no jobs are overdue")
        return
    late = "ever" if row.seconds is None else span(row.seconds)
    found = f"a job of queue {row.queue!r} has been due for {late}, and no node has made it available"
    if database.roster.alive:
        why = "many jobs are due at once, or its row is locked"
        advice = "run oban-sqla why ID; then look in the log of the leader for the loop 'stager'"
        yield warning(found, why, advice)
    else:
        yield problem(found, "no node is running, so none stages jobs", "start a node: oban-sqla start")


def unknown_workers(database: Database) -> Iterator[Finding]:
    """Jobs that nodes have given back because they don't know the worker."""
    rows = given_back.execute(
        database.connection, mark="unknown_worker", within=UNKNOWN_WITHIN, most=MOST_UNKNOWN
    ).all()
    if not rows:
        yield ok("the nodes know the workers of all jobs")
        return
    jobs = sum(row.jobs for row in rows)
    yield warning(
        f"{jobs:,} {'job waits' if jobs == 1 else 'jobs wait'} for a node that knows the worker: "
        f"{listed(row.worker for row in rows)}",
        "a node without that worker, or without its executor, gives the job back, each time for up to five minutes",
        "this is normal during a deployment; otherwise register the worker on a node, or delete the jobs",
    )


def large_jobs(database: Database) -> Iterator[Finding]:
    """Args and errors that are so large that they make every fetch slow, found in a sample of the table."""
    [table] = database.rows(catalog.TABLE)
    blocks = max(table.bytes / 8192, 1)
    row = sample.execute(database.connection, percent=min(100.0 * SAMPLED_BLOCKS / blocks, 100.0)).one()
    findings: list[Finding] = []
    if row.jobs and row.args > LARGE_ON_AVERAGE:
        findings.append(
            warning(
                f"args take {row.args:,.0f} bytes on average (jobs sampled: {row.jobs:,})",
                "PostgreSQL stores such values apart; each fetch, ack and prune has to read or write them, too",
                "store large data elsewhere, and put its key into args",
            )
        )
    for what, largest in (("args", row.largest_args), ("errors", row.largest_errors)):
        if row.jobs and largest > LARGE:
            findings.append(
                warning(
                    f"{what} of a job take {largest:,} bytes (jobs sampled: {row.jobs:,})",
                    "a fetch transfers them to the node, and each change of the job copies its row",
                    "store large data elsewhere" if what == "args" else "lower max_attempts, or prune sooner",
                )
            )
    yield from findings or [ok(f"args and errors are small (jobs sampled: {row.jobs:,})")]
