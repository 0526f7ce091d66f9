SELECT oban_producers.uuid, oban_producers.name, oban_producers.node, oban_producers.queue, CAST(oban_producers.meta AS TEXT) AS meta, least(greatest(oban_producers.started_at, timestamp '0001-01-01'), timestamp '9999-12-31') AS started_at, CASE WHEN (oban_producers.updated_at BETWEEN timestamp '0001-01-01' AND timestamp '9999-12-31') THEN oban_producers.updated_at END AS last_beat, CAST(CASE WHEN isfinite(oban_producers.updated_at) THEN EXTRACT(epoch FROM timezone('UTC', now()) - oban_producers.updated_at) END AS FLOAT) AS silent, substr(replace(CAST(oban_producers.uuid AS TEXT), $1::VARCHAR, $2::VARCHAR), $3::INTEGER, $4::INTEGER) IN (
    SELECT lpad(to_hex(classid::bigint), 8, '0') || lpad(to_hex(objid::bigint), 8, '0')
    FROM pg_catalog.pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND granted
      AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
) AS locked, coalesce(running.ids, CAST('{}' AS BIGINT[])) AS running 
FROM oban_producers LEFT OUTER JOIN (SELECT coalesce(lower(oban_jobs.attempted_by[2]), '') AS key, array_agg(oban_jobs.id ORDER BY oban_jobs.id) AS ids 
FROM oban_jobs 
WHERE oban_jobs.state = 'executing' GROUP BY coalesce(lower(oban_jobs.attempted_by[2]), '')) AS running ON running.key = CAST(oban_producers.uuid AS TEXT) 
 LIMIT $5::INTEGER
