"""The server: its version, its settings, its clock, and the way to it."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ...runtime.lanes.lane import STATEMENT_TIMEOUT
from ...statements.catalog import CLOCK, CONNECTIONS, NOTIFICATIONS, SETTINGS
from ..words import span
from .finding import Finding, ok, problem, skipped, warning
from .patient import Patient

OLDEST, NEWEST = 14, 18
"""The major versions that are supported."""

SKEW = 2.0
"""Seconds by which this machine's clock may differ from the server's."""

FEW_CONNECTIONS = 10
FEW_SHARE = 0.1
"""Fewer free ones than these make a warning."""

NOTIFICATIONS_FILLING, NOTIFICATIONS_FULL = 0.05, 0.5
"""The share of the notification queue that is in use."""

SHORT_TRANSACTION = 60_000
"""Milliseconds; ending idle transactions sooner than this ends jobs that use a session."""


def server_version(patient: Patient) -> Iterator[Finding]:
    """The versions that this package is made for."""
    major, said = patient.server.version // 10_000, patient.server.said
    if major < OLDEST:
        why = "statements and migrations use what that version does not have"
        yield problem(f"PostgreSQL {said} is older than {OLDEST}", why, f"upgrade the server to {OLDEST} or newer")
    elif major > NEWEST:
        why = f"versions {OLDEST} to {NEWEST} were tested"
        yield warning(f"PostgreSQL {said} is newer than {NEWEST}", why, "upgrade this package, or test your own jobs")
    else:
        yield ok(f"PostgreSQL {said}")


def standby(patient: Patient) -> Iterator[Finding]:
    """Whether this server can be written to."""
    if patient.server.standby:
        yield problem(
            "this server is a standby",
            "it can't be written to, and the UNLOGGED tables of leaders and producers can't even be read there",
            "point the runtime and this command at the primary; after a failover the tables are empty, and fill again",
        )
    else:
        yield ok("this server is a primary")


def pooler(patient: Patient) -> Iterator[Finding]:
    """Whether a transaction pooler stands between."""
    if isinstance(patient.pooled, str):
        yield skipped(patient.pooled)
    elif patient.pooled:
        yield warning(
            "a transaction pooler stands between this command and the server",
            "nodes that connect this way get no notifications, hold no locks, and know of a death only after 60 s",
            "give the runtime an engine that goes past the pooler; see docs/poolers.md",
        )
    else:
        yield ok("direct connections, or a pooler in session mode")


def clock(patient: Patient) -> Iterator[Finding]:
    """This machine's clock against the server's."""
    patient.rows(CLOCK)  # the statement is prepared now, so that the second time measures the way alone
    before = time.time()
    [[there]] = patient.rows(CLOCK)
    after = time.time()
    skew, way = there - (before + after) / 2, (after - before) / 2
    found = f"this machine's clock is {span(abs(skew))} {'behind' if skew > 0 else 'ahead of'} the server's"
    if abs(skew) - way <= SKEW:
        yield ok(found if abs(skew) >= max(way, 0.01) else "this machine's clock and the server's agree")
        return
    yield warning(
        found,
        "the runtime goes by the server's clock, but times that your code computes for scheduled_at are as wrong as "
        "this machine's",
        "synchronise the clocks (NTP), or use schedule_in",
    )


def connections(patient: Patient) -> Iterator[Finding]:
    """Whether nodes and their jobs will find a connection."""
    [row] = patient.rows(CONNECTIONS)
    limits = [("max_connections", row.slots, row.used)]
    if row.role_limit >= 0:
        limits.append((f"the limit of the role {patient.server.role}", row.role_limit, row.used_by_role))
    if row.database_limit >= 0:
        limits.append(("the limit of the database", row.database_limit, row.used_of_database))
    name, slots, used = min(limits, key=lambda limit: limit[1] - limit[2])
    if slots - used >= min(FEW_CONNECTIONS, slots * FEW_SHARE):
        yield ok(f"{used} of {slots} connections are in use")
        return
    yield warning(
        f"{used} of {slots} connections are in use ({name})",
        "a node holds four connections beside the pool of your engine, a leader six; one that finds none can't fetch, "
        "and gives no sign of life",
        "raise the limit, make the pools smaller, or put a pooler in session mode between",
    )


def timeouts(patient: Patient) -> Iterator[Finding]:
    """Timeouts of this role that end what the runtime, or a job with a session, does."""
    found = list(_harmful(patient))
    yield from found or [ok("no timeout of this role ends what the runtime does")]


def _harmful(patient: Patient) -> Iterator[Finding]:
    names = ("statement_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout", "transaction_timeout")
    values = {row.name: int(row.value) for row in patient.rows(SETTINGS, names=list(names))}
    role = patient.server.role
    if 0 < (ms := values.get("statement_timeout", 0)) < STATEMENT_TIMEOUT * 1000:
        yield warning(
            f"statement_timeout is {ms} ms for the role {role}",
            f"the runtime gives its own statements {STATEMENT_TIMEOUT:g} s; when the server is slow for a moment they "
            "fail before that, again and again",
            f"ALTER ROLE {role} SET statement_timeout = '30s', or more",
        )
    if (ms := values.get("idle_session_timeout", 0)) > 0:
        yield warning(
            f"idle_session_timeout is {ms} ms for the role {role}",
            "the connection that listens is idle for as long as nothing happens; each time it is cut, the node "
            "reconnects, takes its locks again and looks for lost jobs",
            f"ALTER ROLE {role} SET idle_session_timeout = 0",
        )
    if (ms := values.get("transaction_timeout", 0)) > 0:
        yield warning(
            f"transaction_timeout is {ms} ms for the role {role}",
            "a job that asks for a session has a transaction from its first statement to its end, and fails when it "
            "takes longer",
            f"ALTER ROLE {role} SET transaction_timeout = 0, or let such jobs be short",
        )
    if 0 < (ms := values.get("idle_in_transaction_session_timeout", 0)) < SHORT_TRANSACTION:
        yield warning(
            f"idle_in_transaction_session_timeout is {ms} ms for the role {role}",
            "a job that asks for a session, and then does something else for longer than that, loses its transaction "
            "and fails",
            "let it be a minute or more",
        )


def isolation(patient: Patient) -> Iterator[Finding]:
    """The isolation in which applications enqueue."""
    [row] = patient.rows(SETTINGS, names=["default_transaction_isolation"])
    if row.value == "read committed":
        yield ok("transactions are READ COMMITTED by default")
        return
    yield warning(
        f"default_transaction_isolation is {row.value!r}",
        "the runtime sets its own, but a session that enqueues a unique job, cancels or updates jobs while others do "
        "may fail with a serialization error",
        "let such sessions retry, or make the default 'read committed' for this role",
    )


def notifications(patient: Patient) -> Iterator[Finding]:
    """How full the server's queue of notifications is."""
    [[usage]] = patient.rows(NOTIFICATIONS)
    found = f"{usage:.1%} of the notification queue is in use"
    why = "a session that listens has had a transaction open for long; when the queue is full every NOTIFY fails, "
    why += "and with it the transactions that enqueue"
    advice = "end that transaction: a session that executed LISTEN and is idle in transaction in pg_stat_activity"
    if usage >= NOTIFICATIONS_FULL:
        yield problem(found, why, advice)
    elif usage >= NOTIFICATIONS_FILLING:
        yield warning(found, why, advice)
    else:
        yield ok(found)
