SELECT CAST(jobs.oban_jobs.state AS TEXT) AS state 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.id = $1::BIGINT
