SELECT l.pid, a.usename::text, a.application_name, a.state,
               extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, p.prepared))::float8 AS open, p.gid
        FROM pg_catalog.pg_locks l
        LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
        LEFT JOIN pg_catalog.pg_prepared_xacts p ON p.transaction = l.transactionid
        WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted
          AND l.transactionid::text = $1
