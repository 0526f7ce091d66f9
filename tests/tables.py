"""Empties the tables of a test's database, in one statement that does only what is needed.

To truncate our tables costs 15 ms of the server's time, as each index gets a new file; to delete the few rows that most
tests leave, less than one.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

LARGE = 256 * 1024
"""Bytes. A table that is larger is truncated: its dead rows would slow down the tests that follow."""

# Jobs come first, and the news of what was deleted last. A table that is locked is truncated, which waits for the lock:
# deleting would not notice that a test has left a transaction open. So is a table that others refer to.
EMPTY = rf"""
DO $$
DECLARE
    ours record;
    truncated text;
BEGIN
    FOR ours IN
        SELECT format('%I.%I', n.nspname, c.relname) AS name, c.oid, c.relname = 'oban_news' AS last, (
            c.oid = ANY (ARRAY(SELECT l.relation FROM pg_locks AS l WHERE l.pid <> pg_backend_pid() AND l.database = (
                SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())))
            OR c.oid = ANY (ARRAY(SELECT k.confrelid FROM pg_constraint AS k WHERE k.contype = 'f'))
            ) AS others
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.relkind = 'r' AND c.relname LIKE 'oban\_%' AND c.relname <> 'oban_schema'
        ORDER BY last, c.relname <> 'oban_jobs'
    LOOP
        IF ours.others OR pg_relation_size(ours.oid) > {LARGE} THEN
            EXECUTE format('TRUNCATE %s CASCADE', ours.name);
        ELSIF ours.last OR pg_relation_size(ours.oid) > 0 THEN
            EXECUTE format('DELETE FROM %s', ours.name);
        END IF;
    END LOOP;
END
$$
"""


def empty_tables(connection: Connection) -> None:
    """Empty our tables in all schemas, but not the version of the schema.

    :param connection: on the database, in AUTOCOMMIT, with a ``lock_timeout``.
    :raises sqlalchemy.exc.OperationalError: a transaction that is still open holds a lock on one of them.
    """
    connection.execute(text(EMPTY))


def disconnect_nodes(connection: Connection) -> None:
    """End the connections of nodes that a failed test has not stopped, and that its traceback keeps.

    Nothing reads any more from the one that listens. When its socket is full, the server's process can't take part in
    what each DROP DATABASE asks of all of them, so that the run would never end.
    """
    nodes = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'oban_sqla'"
    connection.execute(text(f"SELECT pg_terminate_backend(pid) FROM ({nodes}) AS nodes"))
