SELECT jobs.oban_jobs.uniq_key, CAST(jobs.oban_jobs.state AS TEXT) AS state 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.uniq_key = any($1::BYTEA[]) AND CAST(jobs.oban_jobs.state AS TEXT) IN ('available', 'scheduled', 'suspended', 'retryable') ORDER BY jobs.oban_jobs.id FOR UPDATE
