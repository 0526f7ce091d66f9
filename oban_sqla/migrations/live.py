"""SQL for changing ``oban_jobs`` while jobs are inserted, fetched and acknowledged.

A statement that waits for a lock on the table makes every later one wait behind it, for as long as some transaction
reads. So the lock is asked for with a short timeout, again and again, and what needs it runs at once. Indexes are built
CONCURRENTLY, which no insert waits for. A build that is interrupted leaves an invalid index, which ``IF NOT EXISTS``
would take for the real one: those are dropped first. An index that others replace is dropped when they are there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

PATIENCE = 5
"""Minutes for which the lock is asked for, twice a second, before the upgrade fails."""

TIMEOUTS = ("statement_timeout", "lock_timeout")
"""Off while an index is built: one that gives up waiting for older transactions is left behind invalid."""

SMALL_PAGES = 1_000
"""Pages of 8 kB up to which the indexes are built at once, in the transaction of the tables. They take some 0.1 s."""

_LOCKED = """DO $oban$
DECLARE
  patience text := current_setting('lock_timeout');
  found record;
BEGIN
  IF {unneeded} THEN
    RETURN;
  END IF;
  FOR attempt IN 1 .. {attempts} LOOP
    BEGIN
      SET LOCAL lock_timeout = '50ms';
      LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE;
      EXIT;
    EXCEPTION WHEN lock_not_available THEN
      IF attempt = {attempts} THEN
        RAISE lock_not_available USING MESSAGE = 'the jobs table could not be locked within {minutes}',
          HINT = 'A transaction, a backup, a vacuum or the build of an index has it open; run this again later.';
      END IF;
    END;
    {between}PERFORM pg_sleep(0.5);
  END LOOP;
  PERFORM set_config('lock_timeout', patience, true);
{statements}
END $oban$"""

_INVALID = """SELECT c.oid::regclass AS name
                FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
               WHERE i.indrelid = to_regclass('{prefix}oban_jobs') AND NOT (i.indisvalid AND i.indisready)
                 AND c.relname = ANY (ARRAY[{names}])"""


def under_lock(prefix: str, statements: Iterable[str]) -> str:
    """One statement that runs `statements` with the jobs and the queues locked, or does nothing without tables."""
    return _locked(
        f"to_regclass('{prefix}oban_jobs') IS NULL",
        f"{prefix}oban_queues, {prefix}oban_jobs",
        "\n".join(f"  {statement};" for statement in statements),
    )


def drop_invalid(prefix: str, names: Iterable[str], *, in_transaction: bool) -> str:
    """One statement that drops those of these indexes whose build was interrupted. It locks nothing without any.

    The lock waits for a build that is under way in another session, so that its index is never taken for a leftover.
    That build waits for every transaction that is older; so there is a new one for each try, where that can be.
    """
    found = _INVALID.format(prefix=prefix, names=_listed(names))
    drop = f"""  FOR found IN {found} LOOP
    EXECUTE 'DROP INDEX ' || found.name;
  END LOOP;"""
    between = "" if in_transaction else "COMMIT; "
    return _locked(f"NOT EXISTS ({found})", f"{prefix}oban_jobs", drop, between)


def build(prefix: str, indexes: Mapping[str, str], replaced: Collection[str], names: Collection[str]) -> list[str]:
    """The statements that create `indexes` of the jobs table CONCURRENTLY where they are missing, each for itself.

    :param replaced: those to drop once all of `names` are built.
    """
    made = [f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {prefix}oban_jobs {indexes[name]}" for name in indexes]
    if made:
        off, on = [f"SET {name} = 0" for name in TIMEOUTS], [f"RESET {name}" for name in TIMEOUTS]
        made = [drop_invalid(prefix, indexes, in_transaction=False), *off, *made, *on]
    if replaced:
        unneeded = f"(SELECT missing <> '{{}}' OR NOT has_replaced FROM (\n{missing(prefix, names, replaced)}) found)"
        made.append(_locked(unneeded, f"{prefix}oban_jobs", _drops(prefix, replaced), "COMMIT; "))
    return made


def build_at_once(
    prefix: str, indexes: Mapping[str, str], replaced: Collection[str], names: Collection[str]
) -> list[str]:
    """The statements that do the same in a transaction.

    They lock the table before they build. To build an index stops all who write; if the transaction then waited for
    those who have read, one of them could write next, and both would wait for each other.
    """
    made = "".join(f"  CREATE INDEX IF NOT EXISTS {name} ON {prefix}oban_jobs {indexes[name]};\n" for name in indexes)
    unneeded = f"(SELECT missing = '{{}}' AND NOT has_replaced FROM (\n{missing(prefix, names, replaced)}) found)"
    built = _locked(unneeded, f"{prefix}oban_jobs", made + _drops(prefix, replaced))
    return [drop_invalid(prefix, indexes, in_transaction=True), built] if indexes else [built]


def _drops(prefix: str, names: Iterable[str]) -> str:
    return "\n".join(f"  DROP INDEX IF EXISTS {prefix}{name};" for name in names)


def missing(prefix: str, names: Iterable[str], replaced: Iterable[str] = ()) -> str:
    """A query for the pages of the jobs table, those of the indexes `names` that are missing or invalid, and whether
    one of those `replaced` is there."""
    of_jobs = f"""SELECT FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
                 WHERE i.indrelid = to_regclass('{prefix}oban_jobs')"""
    return f"""SELECT coalesce(pg_relation_size(to_regclass('{prefix}oban_jobs')), 0) / 8192 AS pages,
       ARRAY(SELECT wanted.name FROM unnest(ARRAY[{_listed(names)}]::text[]) wanted(name)
              WHERE NOT EXISTS ({of_jobs} AND c.relname = wanted.name AND i.indisvalid AND i.indisready)) AS missing,
       EXISTS ({of_jobs} AND c.relname = ANY (ARRAY[{_listed(replaced)}]::text[])) AS has_replaced"""


def refuse_large(prefix: str, names: Iterable[str]) -> str:
    """One statement that fails where building these indexes in a transaction would keep inserts waiting."""
    return f"""DO $oban$ BEGIN
  IF (SELECT pages > {SMALL_PAGES} AND missing <> '{{}}' FROM (
{missing(prefix, names)}) found) THEN
    RAISE object_not_in_prerequisite_state USING MESSAGE = '{TOO_LARGE}';
  END IF;
END $oban$"""


TOO_LARGE = (
    "the jobs table is too large to build indexes on it in a transaction, which no insert could pass; upgrade it in two"
    ' revisions: migrations.upgrade(op, part="tables"), then migrations.upgrade(op, part="indexes"), which builds them'
    " CONCURRENTLY"
)


def _locked(unneeded: str, tables: str, statements: str, between: str = "") -> str:
    return _LOCKED.format(
        unneeded=unneeded,
        attempts=PATIENCE * 110,
        minutes=f"{PATIENCE} minutes",
        tables=tables,
        statements=statements,
        between=between,
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
