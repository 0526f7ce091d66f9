"""The tables: whether they are as the migration made them, and whether this role has the privileges to use them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Index
from sqlalchemy.schema import CreateIndex

from ...migrations import CURRENT
from ...models import SchemaVersion, metadata
from ...models.job import INDEXES
from ...statements import catalog
from ...statements.diagnosis import schema_version as newest
from ...types import JobState
from ..words import listed
from .database import Database
from .finding import Finding, ok, problem, warning

PRIMARY_KEY = "oban_jobs_pkey"
TRIGGERS = {
    "oban_jobs_release_unique": "a finished unique job keeps its key, so that every later one counts as its duplicate",
    "oban_jobs_mark_partition": "a job whose queue or arguments change counts in the limits of its old partition",
    "oban_jobs_let_go": "jobs of workflows start without the results that they use, and those of chains beside others",
    "oban_jobs_tell": "workflows, batches, chains and jobs with a signal go on only with the next sweep",
    "oban_jobs_tell_deleted": "what waits for a job that is deleted goes on only with the next sweep",
    "oban_jobs_tell_inserted": "the first job of a chain starts only with the next sweep",
    "oban_jobs_tell_held": "a chain goes on only with the next sweep after the job that held it is deleted",
}
"""The triggers of the migration, each with what goes wrong without it."""
REPAIR = "pipe the output of `oban-sqla sql` for this schema into psql: it creates what is missing"

TUNED = {"autovacuum_vacuum_scale_factor": 0.02, "autovacuum_analyze_scale_factor": 0.02, "fillfactor": 85.0}
"""The most important settings that the migration gives to the jobs table."""


def schema_version(database: Database) -> Iterator[Finding]:
    """The version of the tables, and whether all columns exist."""
    version = newest.execute(database.connection).scalar_one() or 0
    if version > CURRENT:
        yield warning(
            f"the tables have version {version}, and this package knows {CURRENT}",
            "a newer version of this package has migrated them, and this version does not know what it relies on",
            "upgrade this package on every node",
        )
    elif version < CURRENT:
        yield problem(
            f"the tables have version {version}, and this package needs {CURRENT}",
            "nodes of this version don't start",
            "run oban-sqla migrate, or oban_sqla.migrations.upgrade(op) in an Alembic revision",
        )
    expected = {(table.name, column.name) for table in metadata.tables.values() for column in table.columns}
    names = [table.name for table in metadata.tables.values()]
    missing = expected - {(row.table, row.column) for row in database.rows(catalog.COLUMNS, tables=names)}
    if missing:
        names = [f"{table}.{column}" for table, column in missing]
        yield problem(f"columns are missing: {listed(names)}", "statements that use them fail", REPAIR)
    elif version == CURRENT:
        yield ok(f"the tables have version {version}")


def indexes(database: Database) -> Iterator[Finding]:
    """Whether the indexes of the jobs table are as the migration made them."""
    there = {row.name: row for row in database.rows(catalog.INDEXES)}
    expected = {str(index.name): index for index in INDEXES}
    bad = [finding for row in there.values() if not row.valid for finding in [_invalid(database, row, expected)]]
    for name, index in expected.items():
        if name not in there:
            bad.append(_wrong(database, index, f"the index {name} is missing", "create it"))
        elif there[name].valid and not _is_as_made(there[name], index):
            bad.append(_wrong(database, index, f"the index {name} is not as the migration made it", "drop it, and"))
    if PRIMARY_KEY not in there:
        why = "every statement finds jobs by their id, and has no index for that"
        bad.append(
            problem("the jobs table has no primary key", why, "restore it: ALTER TABLE ... ADD PRIMARY KEY (id)")
        )
    number = len(there) - len(expected) - 1
    others = f"; {number} more, which every write of a job has to update" if number > 0 else ""
    yield from bad or [ok(f"{len(expected) + 1} indexes are as the migration made them{others}")]


def triggers(database: Database) -> Iterator[Finding]:
    """The triggers that the migration creates on the jobs table."""
    enabled = {row.name: row.enabled for row in database.rows(catalog.TRIGGERS)}
    findings: list[Finding] = []
    for name, why in TRIGGERS.items():
        if name not in enabled:
            findings.append(problem(f"the trigger {name} is missing", why, REPAIR))
        elif enabled[name] not in ("O", "A"):
            enable = f"ALTER TABLE {database.jobs} ENABLE TRIGGER {name}"
            findings.append(problem(f"the trigger {name} is disabled", why, enable))
    [fires] = database.rows(catalog.SETTINGS, names=["session_replication_role"])
    if fires.value == "replica":
        role = database.server.role
        findings.append(
            problem(
                f"session_replication_role is 'replica' for the role {role}, so no trigger fires in its sessions",
                "finished unique jobs keep their keys; workflows, batches and chains go on only with the next sweep",
                f"ALTER ROLE {role} RESET session_replication_role, or the same for the database",
            )
        )
    number = len(enabled) - len(TRIGGERS)
    others = f", and {number} more" if number > 0 else ""
    yield from findings or [ok(f"the {len(TRIGGERS)} triggers of the migration exist{others}")]


def states(database: Database) -> Iterator[Finding]:
    """The states that a job can have."""
    names = [row.state for row in database.rows(catalog.STATES)]
    if missing := {state.value for state in JobState} - set(names):
        yield problem(f"oban_job_state lacks {listed(missing)}", "jobs can't be put into such a state", REPAIR)
    unknown = [state for state in names if state not in set(JobState)]
    if unknown:
        common = {state for row in database.rows(catalog.COMMON_STATES) for state in row.states or ()}
        used = f"; by the table's statistics jobs are {listed(common & set(unknown))}" if common & set(unknown) else ""
        yield warning(
            f"oban_job_state has states of a future version: {listed(unknown)}{used}",
            "this version leaves jobs in such a state alone",
            "upgrade this package to the version that added them",
        )
    if not (missing or unknown):
        yield ok(f"oban_job_state has the {len(names)} states of this version")


def table_settings(database: Database) -> Iterator[Finding]:
    """The settings by which the jobs table is vacuumed early and often."""
    [table] = database.rows(catalog.TABLE)
    options_now = dict(option.split("=", 1) for option in table.options or ())
    names = ["autovacuum", "track_counts"]
    findings: list[Finding] = []
    off = [row.name for row in database.rows(catalog.SETTINGS, names=names) if row.value == "off"]
    if options_now.get("autovacuum_enabled", "true").lower() in ("false", "off", "no", "0"):
        off.append("autovacuum_enabled of the jobs table")
    if off:
        why = "every fetch has to read past the dead rows of finished jobs, and the table grows without limit"
        findings.append(problem(f"{listed(off)} is off", why, "turn it on again"))
    lost = [name for name, most in TUNED.items() if _number(options_now.get(name), 1e9) > most]
    if lost:
        options = ", ".join(f"{name} = {TUNED[name]:g}" for name in lost)
        findings.append(
            warning(
                f"settings of the jobs table are missing, or laxer than the migration made them: {listed(lost)}",
                "with the server's defaults a fifth of the table is dead before it is vacuumed",
                f"ALTER TABLE {database.jobs} SET ({options})",
            )
        )
    yield from findings or [ok("the jobs table is vacuumed early and often")]


def privileges(database: Database) -> Iterator[Finding]:
    """Whether this role has the privileges that a node needs."""
    wanted = [
        (table.name, privilege)
        for table in metadata.tables.values()
        for privilege in ("SELECT", "INSERT", "UPDATE", "DELETE")
        if table is not SchemaVersion.__table__ or privilege == "SELECT"
    ]
    tables, kinds = [table for table, _ in wanted], [privilege for _, privilege in wanted]
    rows = [row for row in database.rows(catalog.PRIVILEGES, tables=tables, privileges=kinds) if not row.has]
    role = database.server.role
    if not rows:
        yield ok(f"the role {role} has the privileges that a node needs")
        return
    by_table: dict[str, list[str]] = {}
    for row in rows:
        by_table.setdefault(row.said, []).append(row.privilege)
    grants = "; ".join(
        f"GRANT {', '.join(sorted(kinds))} ON {table} TO {role}" for table, kinds in sorted(by_table.items())
    )
    yield problem(f"the role {role} lacks privileges on {listed(by_table)}", "a node with this role can't work", grants)


def _invalid(database: Database, row: Any, expected: dict[str, Index]) -> Finding:
    found = f"the index {row.name} is invalid"
    name = f"{database.prefix}{row.name}"
    if row.under_way:
        why = "an index is being built on the jobs table at this moment, and this may be the one"
        return warning(found, why, "look again when that has finished")
    if row.name in expected or row.name == PRIMARY_KEY:
        why = "building it was interrupted; no statement can use it, so some statements read the whole table"
        return problem(found, why, f"REINDEX INDEX CONCURRENTLY {name}")
    why = "an interrupted build left it behind; no statement uses it, and every write has to update it"
    return warning(found, why, f"DROP INDEX CONCURRENTLY {name}")


def _wrong(database: Database, index: Index, found: str, first: str) -> Finding:
    made = " ".join(str(CreateIndex(index).compile(dialect=database.connection.dialect)).split())
    made = re.sub(r" ON \S+ ", lambda _: f" ON {database.jobs} ", made).replace(" INDEX ", " INDEX CONCURRENTLY ", 1)
    why = "statements that rely on it read the whole table" if not index.unique else "unique jobs can't be enqueued"
    return problem(found, why, f"{first}: {made}")


def _is_as_made(row: Any, index: Index) -> bool:
    """Whether an index has the right columns, and its condition names the right states and columns.

    The condition itself can't be compared, because PostgreSQL rewrites it.
    """
    options = index.dialect_options["postgresql"]
    keys = [_plain(getattr(key, "name", None) or str(key)) for key in index.expressions]
    where = str(options["where"])
    return (
        [_plain(name) for name in row.columns] == [*keys, *(options["include"] or ())]
        and row.keys == len(keys)
        and row.unique == bool(index.unique)
        and _named(row.predicate or "") == _named(where)
    )


def _plain(key: str) -> str:
    return re.sub(r"::text|[ ()]", "", key.replace('"', ""))


def _named(condition: str) -> tuple[list[str], list[str], bool]:
    condition = condition.replace('"', "")  # quote_all_identifiers
    columns = re.findall(r"(\w+) IS NOT NULL", condition)
    return sorted(re.findall(r"'(\w+)'", condition)), sorted(columns), "max_attempts" in condition


def _number(text: str | None, default: float) -> float:
    try:
        return default if text is None else float(text)
    except ValueError:
        return default
