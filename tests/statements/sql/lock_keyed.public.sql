SELECT oban_jobs.uniq_key, CAST(oban_jobs.state AS TEXT) AS state 
FROM oban_jobs 
WHERE oban_jobs.uniq_key = any($1::BYTEA[]) AND CAST(oban_jobs.state AS TEXT) IN ('available', 'scheduled', 'suspended', 'retryable') ORDER BY oban_jobs.id FOR UPDATE
