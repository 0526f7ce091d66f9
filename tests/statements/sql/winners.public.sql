SELECT oban_jobs.uniq_key, oban_jobs.id, CAST(oban_jobs.state AS TEXT) AS state 
FROM oban_jobs 
WHERE oban_jobs.uniq_key = any($1::BYTEA[])
