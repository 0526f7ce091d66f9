"""The server: its version, settings, clock and connections."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ...runtime.connections import CONNECTIONS
from ...runtime.lanes.lane import STATEMENT_TIMEOUT
from ...statements import catalog
from ...statements.catalog import CLOCK, NOTIFICATIONS, SETTINGS
from ..words import span
from .database import Database
from .finding import Finding, ok, problem, skipped, warning

OLDEST, NEWEST = 14, 18
"""The major versions that are supported."""

SKEW = 2.0
"""Seconds by which this machine's clock may differ from the server's."""

FEW_CONNECTIONS, FEW_SHARE = 10, 0.1
"""Free connections below which there is a warning: their number, or their share of the limit if that is less."""

NOTIFICATIONS_FILLING, NOTIFICATIONS_FULL = 0.05, 0.5
"""Shares of the notification queue in use: from the first on there is a warning, from the second on a problem."""

SHORT_TRANSACTION = 60_000
"""Milliseconds. A timeout for idle transactions that is shorter than this ends jobs that use a session."""


def server_version(database: Database) -> Iterator[Finding]:
    """Whether this version of PostgreSQL is supported."""
    major, version = database.server.version // 10_000, database.server.said
    if major < OLDEST:
        why = "statements and migrations use features that this version does not have"
        yield problem(f"PostgreSQL {version} is older than {OLDEST}", why, f"upgrade the server to {OLDEST} or newer")
    elif major > NEWEST:
        why = f"this package was tested with versions {OLDEST} to {NEWEST}"
        yield warning(
            f"PostgreSQL {version} is newer than {NEWEST}",
            why,
            "upgrade this package, or test your jobs on this version",
        )
    else:
        yield ok(f"PostgreSQL {version}")


def encoding(database: Database) -> Iterator[Finding]:
    """Whether the database can store every character."""
    [row] = database.rows(SETTINGS, names=["server_encoding"])
    if row.value == "UTF8":
        yield ok("the encoding of the database is UTF8")
        return
    yield warning(
        f"the encoding of the database is {row.value}",
        "jobs whose arguments have other letters can't be enqueued, and a job that returns or raises them is written "
        "as a failure that can't be stored; psycopg reads no letters beyond ASCII there unless it is told to",
        "move to a database that was created with ENCODING 'UTF8'; until then, with psycopg: "
        "create_async_engine(url, client_encoding='utf8')",
    )


def standby(database: Database) -> Iterator[Finding]:
    """Whether this server can be written to."""
    if database.server.standby:
        yield problem(
            "this server is a standby",
            "it can't be written to, and the UNLOGGED tables of leaders and producers can't be read there",
            "connect the nodes and this command to the primary; after a failover these tables start empty, and fill "
            "again",
        )
        return
    [row] = database.rows(SETTINGS, names=["default_transaction_read_only"])
    if row.value == "on" and row.source != "client":  # this client may have asked for it, to be careful
        role = database.server.role
        yield problem(
            f"default_transaction_read_only is on for the role {role}, or for this server or database",
            "nodes don't start, and nothing can be enqueued or changed",
            f"connect as another role, or ALTER ROLE {role} SET default_transaction_read_only = off",
        )
        return
    yield ok("this server is a primary")


def pooler(database: Database) -> Iterator[Finding]:
    """Whether connections go through a transaction pooler."""
    if isinstance(database.pooled, str):
        yield skipped(database.pooled)
    elif database.pooled:
        yield warning(
            "this command connects through a transaction pooler",
            "nodes that connect this way receive no notifications, hold no locks, and notice a dead node only after "
            "60 s",
            "give the nodes an engine that bypasses the pooler; see docs/poolers.md",
        )
    else:
        yield ok("direct connections, or a pooler in session mode")


def clock(database: Database) -> Iterator[Finding]:
    """Whether this machine's clock agrees with the server's."""
    database.rows(CLOCK)  # prepares the statement, so that the second execution measures the network alone
    before = time.time()
    [[there]] = database.rows(CLOCK)
    after = time.time()
    skew, way = there - (before + after) / 2, (after - before) / 2
    found = f"this machine's clock is {span(abs(skew))} {'behind' if skew > 0 else 'ahead of'} the server's"
    if abs(skew) - way <= SKEW:
        yield ok(found if abs(skew) >= max(way, 0.01) else "this machine's clock and the server's agree")
        return
    yield warning(
        found,
        "the nodes use the server's clock, but a scheduled_at that your code computes here is wrong by as much",
        "synchronise the clocks (NTP), or use schedule_in",
    )


def connections(database: Database) -> Iterator[Finding]:
    """Whether enough connections are left for nodes and their jobs."""
    [row] = database.rows(catalog.CONNECTIONS)
    limits = [("max_connections", row.slots, row.used)]
    if row.role_limit >= 0:
        limits.append((f"the limit of the role {database.server.role}", row.role_limit, row.used_by_role))
    if row.database_limit >= 0:
        limits.append(("the limit of the database", row.database_limit, row.used_of_database))
    name, slots, used = min(limits, key=lambda limit: limit[1] - limit[2])
    if slots - used >= min(FEW_CONNECTIONS, slots * FEW_SHARE):
        yield ok(f"{used} of {slots} connections are in use")
        return
    yield warning(
        f"{used} of {slots} connections are in use ({name})",
        f"{CONNECTIONS} A node that gets none fetches no jobs and sends no heartbeat",
        "raise the limit, make the pools smaller, or use a pooler in session mode",
    )


def timeouts(database: Database) -> Iterator[Finding]:
    """Whether timeouts of this role end statements of the nodes, or sessions of jobs."""
    findings = list(_harmful(database))
    yield from findings or [ok("no timeout of this role is too short for the nodes")]


def _harmful(database: Database) -> Iterator[Finding]:
    names = ("statement_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout", "transaction_timeout")
    values = {row.name: int(row.value) for row in database.rows(SETTINGS, names=list(names))}
    role = database.server.role
    if 0 < (ms := values.get("statement_timeout", 0)) < STATEMENT_TIMEOUT * 1000:
        yield warning(
            f"statement_timeout is {ms} ms for the role {role}",
            f"a node allows its statements {STATEMENT_TIMEOUT:g} s; with this setting they fail earlier, again and "
            "again, whenever the server is slow",
            f"ALTER ROLE {role} SET statement_timeout = '30s', or more",
        )
    if (ms := values.get("idle_session_timeout", 0)) > 0:
        yield warning(
            f"idle_session_timeout is {ms} ms for the role {role}",
            "the connection that listens is idle while nothing happens; each time the server closes it, the node has "
            "to reconnect, take its locks again and look for lost jobs",
            f"ALTER ROLE {role} SET idle_session_timeout = 0",
        )
    if (ms := values.get("transaction_timeout", 0)) > 0:
        yield warning(
            f"transaction_timeout is {ms} ms for the role {role}",
            "a job that asks for a session has a transaction from its first statement to its end, and fails when it "
            "takes longer",
            f"ALTER ROLE {role} SET transaction_timeout = 0, or keep such jobs short",
        )
    if 0 < (ms := values.get("idle_in_transaction_session_timeout", 0)) < SHORT_TRANSACTION:
        yield warning(
            f"idle_in_transaction_session_timeout is {ms} ms for the role {role}",
            "a job that asks for a session, and then does something else for longer than that, loses its transaction "
            "and fails",
            "set it to a minute or more",
        )


def isolation(database: Database) -> Iterator[Finding]:
    """The isolation level in which applications enqueue."""
    [row] = database.rows(SETTINGS, names=["default_transaction_isolation"])
    if row.value == "read committed":
        yield ok("transactions are READ COMMITTED by default")
        return
    yield warning(
        f"default_transaction_isolation is {row.value!r}",
        "the nodes set their own, but a session that enqueues a unique job, or cancels or updates jobs, at the same "
        "time as others may fail with a serialization error",
        "retry such transactions, or set the default to 'read committed' for this role",
    )


def notifications(database: Database) -> Iterator[Finding]:
    """How full the server's queue of notifications is."""
    [[usage]] = database.rows(NOTIFICATIONS)
    found = f"{usage:.1%} of the notification queue is in use"
    why = "a session that listens has kept a transaction open; when the queue is full, every NOTIFY fails, and with it "
    why += "the transactions that enqueue"
    advice = "end that transaction: in pg_stat_activity, its session is idle in transaction, and has executed LISTEN"
    if usage >= NOTIFICATIONS_FULL:
        yield problem(found, why, advice)
    elif usage >= NOTIFICATIONS_FILLING:
        yield warning(found, why, advice)
    else:
        yield ok(found)
