INSERT INTO jobs.oban_signals (job_id, name, payload) SELECT jobs.oban_jobs.id, CAST($1::VARCHAR AS TEXT) AS anon_1, CAST($2::VARCHAR AS JSONB) AS anon_2 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.id = $3::BIGINT AND (CAST(jobs.oban_jobs.state AS TEXT) NOT IN ('cancelled', 'completed', 'discarded')) RETURNING jobs.oban_signals.job_id
