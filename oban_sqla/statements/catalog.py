"""What PostgreSQL's catalogs and statistics say of the tables and of the server they live on, for the doctor.

Plain SQL, because nothing of it is about tables that we map. ``:jobs`` is the name of the jobs table, quoted and with
its schema where that is known. Nothing here reads a table of ours.
"""

from sqlalchemy import TextClause, text

READ_ONLY = text("SET TRANSACTION READ ONLY")

SERVER = text("""
    SELECT current_setting('server_version_num')::int AS version, current_setting('server_version') AS said,
           pg_is_in_recovery() AS standby, to_regclass(:jobs)::oid AS jobs, current_user::text AS role,
           current_setting('is_superuser') = 'on' OR pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS sees
""")
"""What the other checks depend on; `jobs` is null where there is no such table."""

CLOCK = text("SELECT extract(epoch FROM clock_timestamp())::float8")

SETTINGS = text("""
    SELECT name, reset_val AS value, unit, source FROM pg_catalog.pg_settings WHERE name = ANY(:names)
""")
"""What a new session of this role in this database has; `source` is ``client`` where this connection asks for it."""

CONNECTIONS = text("""
    SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int AS slots,
           (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend') AS used,
           (SELECT count(*) FROM pg_catalog.pg_stat_activity
             WHERE backend_type = 'client backend' AND usesysid = r.oid) AS used_by_role,
           r.rolconnlimit AS role_limit, d.datconnlimit AS database_limit,
           (SELECT count(*) FROM pg_catalog.pg_stat_activity
             WHERE backend_type = 'client backend' AND datid = d.oid) AS used_of_database
    FROM pg_catalog.pg_roles r, pg_catalog.pg_database d
    WHERE r.rolname = current_user AND d.datname = current_database()
""")

NOTIFICATIONS = text("SELECT pg_notification_queue_usage() AS usage")

COLUMNS = text("""
    SELECT c.relname AS table, a.attname AS column
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = (SELECT relnamespace FROM pg_catalog.pg_class WHERE oid = to_regclass(:jobs))
      AND c.relname = ANY(:tables) AND a.attnum > 0 AND NOT a.attisdropped
""")

INDEXES = text("""
    SELECT c.relname AS name, i.indisvalid AND i.indisready AS valid, i.indisunique AS unique,
           i.indnkeyatts AS keys, pg_get_expr(i.indpred, i.indrelid) AS predicate,
           ARRAY(SELECT pg_get_indexdef(i.indexrelid, n, false) FROM generate_series(1, i.indnatts) n) AS columns,
           EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index p WHERE p.relid = i.indrelid) AS under_way
    FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid = to_regclass(:jobs)
    ORDER BY c.relname
""")

TRIGGERS = text("""
    SELECT t.tgname AS name, t.tgenabled::text AS enabled
    FROM pg_catalog.pg_trigger t WHERE t.tgrelid = to_regclass(:jobs) AND NOT t.tgisinternal
""")

STATES = text("""
    SELECT e.enumlabel::text AS state
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_enum e ON e.enumtypid = a.atttypid
    WHERE a.attrelid = to_regclass(:jobs) AND a.attname = 'state'
    ORDER BY e.enumsortorder
""")

COMMON_STATES = text("""
    SELECT most_common_vals::text::text[] AS states
    FROM pg_catalog.pg_stats s JOIN pg_catalog.pg_class c ON c.relname = s.tablename
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = s.schemaname
    WHERE c.oid = to_regclass(:jobs) AND s.attname = 'state'
""")

TABLE = text("""
    SELECT c.reloptions AS options, c.reltuples::bigint AS rows, pg_table_size(c.oid) AS bytes,
           s.n_dead_tup AS dead, s.n_live_tup AS live,
           extract(epoch FROM clock_timestamp() - greatest(s.last_vacuum, s.last_autovacuum))::float8 AS vacuumed,
           EXISTS (SELECT FROM pg_catalog.pg_stat_progress_vacuum v WHERE v.relid = c.oid) AS vacuuming
    FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_stat_all_tables s ON s.relid = c.oid
    WHERE c.oid = to_regclass(:jobs)
""")
"""`vacuumed`: seconds since the last vacuum; null: never, or not since the statistics were reset."""

TRANSACTIONS = text("""
    SELECT a.pid, a.usename::text AS role, a.application_name AS application, a.state,
           extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS seconds,
           coalesce(greatest(age(a.backend_xmin), age(a.backend_xid)), 0) AS xids
    FROM pg_catalog.pg_stat_activity a
    WHERE (a.backend_xmin IS NOT NULL OR a.backend_xid IS NOT NULL) AND a.pid <> pg_backend_pid()
      AND a.backend_type NOT IN ('autovacuum worker', 'walsender')
      AND a.datid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
    ORDER BY a.xact_start NULLS LAST LIMIT 100
""")
"""Open transactions that keep dead rows from being removed; those of other databases don't."""

PREPARED = text("""
    SELECT p.gid, p.owner::text AS role, extract(epoch FROM clock_timestamp() - p.prepared)::float8 AS seconds
    FROM pg_catalog.pg_prepared_xacts p WHERE p.database = current_database() ORDER BY p.prepared LIMIT 100
""")

SLOTS = text("""
    SELECT slot_name::text AS name, active, age(xmin) AS xids FROM pg_catalog.pg_replication_slots
    WHERE xmin IS NOT NULL ORDER BY age(xmin) DESC LIMIT 100
""")
"""Replication slots that keep rows; `catalog_xmin` keeps only those of the catalogs."""

STANDBYS = text("""
    SELECT application_name AS name, client_addr::text AS address, age(backend_xmin) AS xids
    FROM pg_catalog.pg_stat_replication WHERE backend_xmin IS NOT NULL ORDER BY age(backend_xmin) DESC LIMIT 100
""")

PRIVILEGES = text("""
    SELECT c.relname AS table, w.privilege,
           has_table_privilege(c.oid, w.privilege) AS has, c.oid::regclass::text AS said
    FROM pg_catalog.pg_class c,
         (SELECT unnest(CAST(:tables AS text[])) AS name, unnest(CAST(:privileges AS text[])) AS privilege) w
    WHERE c.relnamespace = (SELECT relnamespace FROM pg_catalog.pg_class WHERE oid = to_regclass(:jobs))
      AND c.relname = w.name
""")

SEQUENCES = text("""
    SELECT c.oid::regclass::text AS table, quote_ident(a.attname) AS column, s.oid::regclass::text AS sequence,
           CASE WHEN has_sequence_privilege(s.oid, 'USAGE, SELECT') THEN coalesce(pg_sequence_last_value(s.oid), 0) END
             AS last
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_depend d ON d.refobjid = c.oid AND d.refclassid = 'pg_catalog.pg_class'::regclass
     AND d.classid = 'pg_catalog.pg_class'::regclass AND d.deptype IN ('a', 'i')
    JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S'
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid
    WHERE c.relnamespace = (SELECT relnamespace FROM pg_catalog.pg_class WHERE oid = to_regclass(:jobs))
      AND c.relname = ANY(:tables) AND has_table_privilege(c.oid, 'SELECT')
      AND NOT (pg_is_in_recovery() AND s.relpersistence = 'u')
    ORDER BY c.relname
""")
"""The sequences of our tables with their last value; null where this role may not read it."""


def next_taken(table: str, column: str) -> TextClause:
    """The first id after `last`, up to `most`, that a row of a table has; both names are SQL."""
    return text(f"SELECT min({column}) FROM {table} WHERE {column} > :last AND {column} <= :most")
