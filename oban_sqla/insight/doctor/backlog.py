"""The jobs: those that wait too long, that nobody can run, or that are too large."""

from __future__ import annotations

from collections.abc import Iterator

from ...statements import catalog
from ...statements.diagnosis import given_back, heads, sample
from ...statements.diagnosis import overdue as overdue_of
from ..words import listed, meant, span
from .finding import Finding, ok, problem, warning
from .patient import Patient

MOST_HEADS = 2_000
"""Pairs of queue and priority that are visited."""

UNSERVED, BEHIND, PAUSED = 60.0, 600.0, 3_600.0
"""Seconds for which the oldest job of a queue may wait: where no node works it, where one does, where it is paused."""

LATE = 60.0
"""Seconds after which a job that is due should have been staged; a node without a leader does it after two."""

UNKNOWN_WITHIN, MOST_UNKNOWN = 360.0, 5_000
"""A job that was given back waits five minutes at most."""

SAMPLED_BLOCKS = 200
LARGE_ON_AVERAGE, LARGE = 2_000, 100_000
"""Bytes as they are stored: args on average, beyond which PostgreSQL keeps them apart; args or errors of one job."""


def backlog(patient: Patient) -> Iterator[Finding]:
    """Queues whose jobs wait, by the age of the oldest job, and why."""
    oldest: dict[str, float] = {}
    for row in heads.execute(patient.connection, most=MOST_HEADS):
        oldest[row.queue] = max(oldest.get(row.queue, 0.0), 0.0 if row.seconds is None else row.seconds)
    found = [finding for queue, age in oldest.items() for finding in _waiting(patient, queue, age)]
    longest = max(oldest.values(), default=0.0)
    yield from found or [
        ok(f"queues with waiting jobs: {len(oldest)}, the oldest job for {span(longest)}" if oldest else "no job waits")
    ]


def _waiting(patient: Patient, queue: str, age: float) -> Iterator[Finding]:
    members = patient.roster.of(queue)
    found = f"available jobs of the queue {queue!r} have been waiting for {span(age)}"
    if not members:
        if age >= UNSERVED:
            running = {member.queue for member in patient.roster.alive}
            advice = f"oban-sqla start ... --queues {queue}=10, or oban-sqla queues start {queue} --limit 10"
            text = f"{found}, and no living node runs it{meant(queue, running)}"
            yield problem(text, f"nobody runs them; queues that are run: {listed(running)}", advice)
    elif all(member.paused for member in members):
        if age >= PAUSED:
            yield warning(f"{found}, and it is paused", "nobody runs them", f"oban-sqla queues resume {queue}")
    elif age >= BEHIND:
        yield warning(
            found,
            "more jobs come than are done, or the oldest one is hindered",
            f"oban-sqla why ID, for the oldest one; then oban-sqla queues scale {queue} N, or more nodes",
        )


def overdue(patient: Patient) -> Iterator[Finding]:
    """Scheduled and retryable jobs that nobody makes available."""
    row = overdue_of.execute(patient.connection, grace=LATE).one_or_none()
    if row is None:
        yield ok("no job is overdue")
        return
    late = "ever" if row.seconds is None else span(row.seconds)
    found = f"a job of the queue {row.queue!r} has been due for {late}, and nobody has made it available"
    if patient.roster.alive:
        why = "jobs that are due wait behind it, or its row is locked"
        yield warning(found, why, "oban-sqla why ID; then the log of the leader for the loop 'stager'")
    else:
        yield problem(found, "no node runs, so nobody stages", "start a node: oban-sqla start")


def unknown_workers(patient: Patient) -> Iterator[Finding]:
    """Jobs that nodes have given back because they don't know the worker."""
    rows = given_back.execute(patient.connection, within=UNKNOWN_WITHIN, most=MOST_UNKNOWN).all()
    if not rows:
        yield ok("no worker is unknown to the nodes")
        return
    jobs = sum(row.jobs for row in rows)
    yield warning(
        f"{jobs:,} {'job waits' if jobs == 1 else 'jobs wait'} for a node that knows the worker: "
        f"{listed(row.worker for row in rows)}",
        "each time a node without that worker takes one it gives it back, for up to five minutes",
        "normal while a new version is being deployed; else register the worker, or delete the jobs",
    )


def large_jobs(patient: Patient) -> Iterator[Finding]:
    """Args and errors that make every fetch slow, by a sample of the table."""
    [table] = patient.rows(catalog.TABLE)
    blocks = max(table.bytes / 8192, 1)
    row = sample.execute(patient.connection, percent=min(100.0 * SAMPLED_BLOCKS / blocks, 100.0)).one()
    found: list[Finding] = []
    if row.jobs and row.args > LARGE_ON_AVERAGE:
        found.append(
            warning(
                f"args take {row.args:,.0f} bytes on average ({row.jobs:,} jobs looked at)",
                "PostgreSQL keeps such values apart; each fetch, ack and prune reads or writes them, too",
                "store what is large elsewhere, and put its key into args",
            )
        )
    for what, largest in (("args", row.largest_args), ("errors", row.largest_errors)):
        if row.jobs and largest > LARGE:
            found.append(
                warning(
                    f"{what} of a job take {largest:,} bytes ({row.jobs:,} jobs looked at)",
                    "a fetch brings them to the node, each change of the job copies its row",
                    "store what is large elsewhere" if what == "args" else "lower max_attempts, or prune sooner",
                )
            )
    yield from found or [ok(f"args and errors are small ({row.jobs:,} jobs looked at)")]
