WITH sent AS 
(INSERT INTO oban_signals (job_id, name, payload) SELECT oban_jobs.id AS id, CAST($1::VARCHAR AS TEXT) AS anon_1, CAST($2::VARCHAR AS JSONB) AS anon_2 
FROM oban_jobs 
WHERE oban_jobs.id = $3::BIGINT AND (CAST(oban_jobs.state AS TEXT) NOT IN ('cancelled', 'completed', 'discarded')) AND (CAST($4::BOOLEAN AS BOOLEAN) OR coalesce(left(oban_jobs.args ->> 'encrypted', $5::INTEGER) != 'gAAAA', true) AND CAST(oban_jobs.worker AS TEXT) != all($6::TEXT[])) RETURNING oban_signals.job_id)
 SELECT oban_jobs.worker AS worker, (SELECT count(*) AS count_1 
FROM sent) > 0 AS is_sent, (SELECT pg_notify(CAST($7::VARCHAR AS TEXT), $8::VARCHAR) AS pg_notify_1 
FROM sent 
WHERE CAST($7::VARCHAR AS TEXT) IS NOT NULL) IS NOT NULL AS is_told 
FROM oban_jobs 
WHERE oban_jobs.id = $3::BIGINT AND (CAST(oban_jobs.state AS TEXT) NOT IN ('cancelled', 'completed', 'discarded'))
