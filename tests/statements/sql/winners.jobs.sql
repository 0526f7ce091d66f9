SELECT jobs.oban_jobs.uniq_key, jobs.oban_jobs.id, CAST(jobs.oban_jobs.state AS TEXT) AS state 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.uniq_key = any($1::BYTEA[])
