INSERT INTO oban_signals (job_id, name, payload) SELECT oban_jobs.id, CAST($1::VARCHAR AS TEXT) AS anon_1, CAST($2::VARCHAR AS JSONB) AS anon_2 
FROM oban_jobs 
WHERE oban_jobs.id = $3::BIGINT AND (CAST(oban_jobs.state AS TEXT) NOT IN ('cancelled', 'completed', 'discarded')) RETURNING oban_signals.job_id
