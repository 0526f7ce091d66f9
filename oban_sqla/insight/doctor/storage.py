"""Dead rows: what keeps them, whether they are cleaned up, and how much room they have left behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...statements import catalog
from ..words import span
from .finding import Finding, ok, problem, skipped, warning
from .patient import Patient

OLD, VERY_OLD = 300.0, 3_600.0
"""Seconds for which a transaction may be open."""

MANY_TRANSACTIONS = 1_000_000
"""How many transactions behind a replication slot or a standby may hold rows; they have no time of their own."""

MANY_DEAD, DEAD_SHARE, LONG_AGO = 20_000, 0.2, 300.0
"""So many dead rows, and such a share of the others, are too many when the last vacuum was so many seconds ago."""

WASTE, SWOLLEN = 64 * 2**20, 4.0
"""Bytes that may be empty, and how many times larger than its content a table may be; it is only told of both."""

PAGE, PAGE_HEADER, ROW_HEADER, ENTRY_HEADER = 8_192, 24, 28, 12
TABLE_FILL, INDEX_FILL = 0.85, 0.9

SLOW = (
    "no dead row younger than that can be removed: every fetch walks over the entries of the jobs before it, and the "
    "table grows. After five minutes at 2,000 jobs/s a fetch from the front of the queue takes 50 ms instead of 0.4"
)


def oldest_transaction(patient: Patient) -> Iterator[Finding]:
    """What keeps vacuum from removing dead rows, and for how long."""
    found = [*_open(patient), *_prepared(patient), *_replicas(patient)]
    if not patient.server.sees:
        role = patient.server.role
        found.append(skipped(f"transactions of other roles can't be seen by {role}: GRANT pg_read_all_stats TO {role}"))
    yield from found or [ok(f"nothing keeps dead rows for more than {span(OLD)}")]


def _open(patient: Patient) -> Iterator[Finding]:
    for row in patient.rows(catalog.TRANSACTIONS):
        if row.seconds is not None and row.seconds >= OLD:
            application = f", {row.application}" if row.application else ""
            who = f"a transaction of {row.role}{application} (process {row.pid} of the server, {row.state})"
            found = f"{who} has been open for {span(row.seconds)}"
            advice = f"commit it, or end it: SELECT pg_terminate_backend({row.pid})"
            yield (problem if row.seconds >= VERY_OLD else warning)(found, SLOW, advice)


def _prepared(patient: Patient) -> Iterator[Finding]:
    for row in patient.rows(catalog.PREPARED):
        if row.seconds >= OLD:
            found = f"the prepared transaction {row.gid!r} of {row.role} has been open for {span(row.seconds)}"
            advice = f"COMMIT PREPARED '{row.gid}' or ROLLBACK PREPARED '{row.gid}': it outlives its connection"
            yield (problem if row.seconds >= VERY_OLD else warning)(found, SLOW, advice)


def _replicas(patient: Patient) -> Iterator[Finding]:
    for row in patient.rows(catalog.SLOTS):
        if row.xids >= MANY_TRANSACTIONS:
            state = "active" if row.active else "not in use"
            found = f"the replication slot {row.name} ({state}) holds rows back for {row.xids:,} transactions"
            advice = "end the long query on its standby" if row.active else "drop it, if its standby is gone: "
            advice += "" if row.active else f"SELECT pg_drop_replication_slot('{row.name}')"
            yield warning(found, SLOW, advice)
    for row in patient.rows(catalog.STANDBYS):
        if row.xids >= MANY_TRANSACTIONS:
            name = f"{row.name} {row.address or ''}".strip()
            found = f"the standby {name} holds rows back for {row.xids:,} transactions, by hot_standby_feedback"
            yield warning(found, SLOW, "end the long query there, or turn hot_standby_feedback off")


def vacuum(patient: Patient) -> Iterator[Finding]:
    """Whether autovacuum keeps up with the jobs table."""
    [row] = patient.rows(catalog.TABLE)
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
        "fetches walk over dead rows until they are removed; autovacuum comes once a minute at best, so this is normal "
        "for a minute after a burst of jobs",
        f"look again in two minutes; if it stays, look at the finding oldest_transaction, then VACUUM {patient.jobs}",
    )


def bloat(patient: Patient) -> Iterator[Finding]:
    """Room that is empty: an estimate from the table's statistics, as good as these.

    A row of the table takes its width and 28 bytes, and pages are filled to 85 %; an entry of an index takes its width
    and 12 bytes, and pages are filled to 90 %. The width is that of the columns, on average, by ``pg_stats``.
    """
    rows = patient.rows(catalog.SIZES)
    known = [row for row in rows if row.width is not None and row.rows >= 0]
    if not known:
        size = sum(row.bytes for row in rows)
        yield ok(f"the jobs table has not been analysed yet, so there is no estimate; it takes {_bytes(size)}")
        return
    found = [finding for row in known if (finding := _swollen(patient, row)) is not None]
    total = sum(row.bytes for row in rows)
    yield from found or [ok(f"the jobs table and its indexes take {_bytes(total)}, about as much as they need")]


def _swollen(patient: Patient, row: Any) -> Finding | None:
    content = expected_bytes(row.kind, row.rows, row.width)
    if row.bytes - content < WASTE or row.bytes < SWOLLEN * content:
        return None
    what = "the jobs table" if row.kind == "r" else f"the index {row.name}"
    found = f"{what} takes {_bytes(row.bytes)} and needs about {_bytes(content)}"
    why = "what is empty will be used again, but until then it is read, cached and backed up"
    if row.kind == "r":
        advice = "when jobs were many for a while that is over: pg_repack, or VACUUM FULL while no node runs"
    else:
        advice = f"REINDEX INDEX CONCURRENTLY {patient.prefix}{row.name}, which blocks nobody"
    return warning(found, why, advice)


def expected_bytes(kind: str, rows: float, width: float) -> float:
    """What so many rows of this width take in a table (kind ``r``) or an index (``i``)."""
    header, fill = (ROW_HEADER, TABLE_FILL) if kind == "r" else (ENTRY_HEADER, INDEX_FILL)
    aligned = -(-width // 8) * 8
    return max(rows * (aligned + header) / ((PAGE - PAGE_HEADER) * fill), 1) * PAGE


def _bytes(size: float) -> str:
    for unit in ("kB", "MB", "GB"):
        size /= 1024
        if size < 1024 or unit == "GB":
            return f"{size:,.1f} {unit}" if size < 10 else f"{size:,.0f} {unit}"
    raise AssertionError
