SELECT coalesce(CAST(oban_producers.uuid AS TEXT), running.key) AS coalesce_1, CAST(oban_producers.updated_at AS TEXT) AS updated_at, CAST(CASE WHEN isfinite(oban_producers.updated_at) THEN EXTRACT(epoch FROM timezone('UTC', now()) - oban_producers.updated_at) END AS FLOAT) AS anon_1, CAST(oban_producers.meta AS TEXT) AS meta, substr(replace(coalesce(CAST(oban_producers.uuid AS TEXT), running.key), $1::VARCHAR, $2::VARCHAR), $3::INTEGER, $4::INTEGER) IN (
    SELECT lpad(to_hex(classid::bigint), 8, '0') || lpad(to_hex(objid::bigint), 8, '0')
    FROM pg_catalog.pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND granted
      AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
) AS anon_2 
FROM oban_producers FULL OUTER JOIN (SELECT DISTINCT coalesce(lower(oban_jobs.attempted_by[2]), '') AS key 
FROM oban_jobs 
WHERE oban_jobs.state = 'executing') AS running ON CAST(oban_producers.uuid AS TEXT) = running.key
