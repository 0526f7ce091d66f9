"""Dead rows: what keeps them, whether they are vacuumed, and how much empty space they have left."""

from __future__ import annotations

from collections.abc import Iterator

from ...migrations.sizes import SIZES, Size
from ...statements import catalog
from ..words import room, span
from .database import Database
from .finding import Finding, ok, problem, skipped, warning

OLD, VERY_OLD = 300.0, 3_600.0
"""Seconds for which a transaction may be open: beyond the first a warning, beyond the second a problem."""

MANY_TRANSACTIONS = 1_000_000
"""Transactions whose dead rows a replication slot or a standby may keep. PostgreSQL says no time for these."""

MANY_DEAD, DEAD_SHARE, LONG_AGO = 20_000, 0.2, 300.0
"""Dead rows are too many above this number and this share of the live rows, if no vacuum ran in so many seconds."""

SLOW = (
    "no row that has died since then can be removed: every fetch has to read past the entries of finished jobs, and "
    "the table grows. After five minutes at 2,000 jobs/s a fetch from the front of a queue takes 50 ms instead of "
    "0.4 ms"
)


def oldest_transaction(database: Database) -> Iterator[Finding]:
    """What keeps vacuum from removing dead rows, and for how long."""
    findings = [*_open(database), *_prepared(database), *_replicas(database)]
    if not database.server.sees:
        role = database.server.role
        findings.append(skipped(f"{role} can't see the transactions of other roles: GRANT pg_read_all_stats TO {role}"))
    yield from findings or [ok(f"no transaction has been open for more than {span(OLD)}")]


def _open(database: Database) -> Iterator[Finding]:
    for row in database.rows(catalog.TRANSACTIONS):
        if row.seconds is not None and row.seconds >= OLD:
            application = f", {row.application}" if row.application else ""
            transaction = f"a transaction of {row.role}{application} (process {row.pid} of the server, {row.state})"
            found = f"{transaction} has been open for {span(row.seconds)}"
            advice = f"commit it, or end it: SELECT pg_terminate_backend({row.pid})"
            yield (problem if row.seconds >= VERY_OLD else warning)(found, SLOW, advice)


def _prepared(database: Database) -> Iterator[Finding]:
    for row in database.rows(catalog.PREPARED):
        if row.seconds >= OLD:
            found = f"the prepared transaction {row.gid!r} of {row.role} has been open for {span(row.seconds)}"
            advice = f"COMMIT PREPARED '{row.gid}' or ROLLBACK PREPARED '{row.gid}': it outlives its connection"
            yield (problem if row.seconds >= VERY_OLD else warning)(found, SLOW, advice)


def _replicas(database: Database) -> Iterator[Finding]:
    for row in database.rows(catalog.SLOTS):
        if row.xids >= MANY_TRANSACTIONS:
            state = "active" if row.active else "not in use"
            found = f"the replication slot {row.name} ({state}) keeps the dead rows of {row.xids:,} transactions"
            drop = f"drop it if its standby is gone: SELECT pg_drop_replication_slot('{row.name}')"
            advice = "end the long query on its standby" if row.active else drop
            yield warning(found, SLOW, advice)
    for row in database.rows(catalog.STANDBYS):
        if row.xids >= MANY_TRANSACTIONS:
            name = f"{row.name} {row.address or ''}".strip()
            found = f"the standby {name} keeps the dead rows of {row.xids:,} transactions, by hot_standby_feedback"
            yield warning(found, SLOW, "end the long query there, or turn hot_standby_feedback off")


def vacuum(database: Database) -> Iterator[Finding]:
    """Whether autovacuum keeps up with the jobs table."""
    [row] = database.rows(catalog.TABLE)
    if row.dead is None:
        yield skipped("the server keeps no statistics of the jobs table")
        return
    rows = f"{row.dead:,} dead rows beside {row.live:,} in the jobs table"
    last = "never vacuumed" if row.vacuumed is None else f"last vacuumed {span(row.vacuumed)} ago"
    many = row.dead >= MANY_DEAD and row.dead >= DEAD_SHARE * row.live
    late = row.vacuumed is None or row.vacuumed >= LONG_AGO
    if not many or not late or row.vacuuming:
        yield ok(f"{rows}, {'being vacuumed now' if row.vacuuming else last}")
        return
    yield warning(
        f"{rows}, {last}",
        "fetches read past dead rows until they are removed; autovacuum runs once a minute at most, so this is "
        "normal for a minute after a burst of jobs",
        f"look again in two minutes; if it stays, look at the finding oldest_transaction, then VACUUM {database.jobs}",
    )


def bloat(database: Database) -> Iterator[Finding]:
    """Empty space in the table and its indexes, see :mod:`oban_sqla.migrations.sizes`."""
    rows = database.rows(SIZES)
    analysed = [size for row in rows if (size := Size.of(row)) is not None]
    if not analysed:
        total = sum(row.bytes for row in rows)
        yield ok(f"the jobs table has not been analysed yet, so there is no estimate; it takes {room(total)}")
        return
    findings = [_swollen(database, size) for size in analysed if size.is_swollen]
    total = sum(row.bytes for row in rows)
    yield from findings or [ok(f"the jobs table and its indexes take {room(total)}, about as much as they need")]


def _swollen(database: Database, size: Size) -> Finding:
    what = "the jobs table" if size.kind == "r" else f"the index {size.name}"
    found = f"{what} takes {room(size.bytes)} and needs about {room(size.content)}"
    why = "empty space will be used again, but until then it is read, cached and backed up"
    if size.kind == "r":
        advice = "if there were many more jobs for a while: pg_repack, or VACUUM FULL while no node is running"
    else:
        name = f"{database.prefix}{size.name}"
        advice = f"REINDEX INDEX CONCURRENTLY {name}, which blocks no writes, or oban-sqla reindex"
    return warning(found, why, advice)
