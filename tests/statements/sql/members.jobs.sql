SELECT jobs.oban_producers.uuid, jobs.oban_producers.name, jobs.oban_producers.node, jobs.oban_producers.queue, CAST(jobs.oban_producers.meta AS TEXT) AS meta, least(greatest(jobs.oban_producers.started_at, timestamp '0001-01-01'), timestamp '9999-12-31') AS started_at, CASE WHEN (jobs.oban_producers.updated_at BETWEEN timestamp '0001-01-01' AND timestamp '9999-12-31') THEN jobs.oban_producers.updated_at END AS last_beat, CAST(CASE WHEN isfinite(jobs.oban_producers.updated_at) THEN EXTRACT(epoch FROM timezone('UTC', now()) - jobs.oban_producers.updated_at) END AS FLOAT) AS silent, substr(replace(CAST(jobs.oban_producers.uuid AS TEXT), $1::VARCHAR, $2::VARCHAR), $3::INTEGER, $4::INTEGER) IN (
    SELECT lpad(to_hex(classid::bigint), 8, '0') || lpad(to_hex(objid::bigint), 8, '0')
    FROM pg_catalog.pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND granted
      AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
) AS locked, coalesce(running.ids, CAST('{}' AS BIGINT[])) AS running 
FROM jobs.oban_producers LEFT OUTER JOIN (SELECT coalesce(lower(jobs.oban_jobs.attempted_by[2]), '') AS key, array_agg(jobs.oban_jobs.id ORDER BY jobs.oban_jobs.id) AS ids 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'executing' GROUP BY coalesce(lower(jobs.oban_jobs.attempted_by[2]), '')) AS running ON running.key = CAST(jobs.oban_producers.uuid AS TEXT) 
 LIMIT $5::INTEGER
