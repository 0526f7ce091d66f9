SELECT CAST(jobs.oban_jobs.state AS TEXT) = 'completed' AS is_completed, CASE WHEN (jobs.oban_jobs.state = 'completed' AND (jobs.oban_jobs.meta ->> 'recorded') = 'true') THEN CAST(jobs.oban_jobs.meta -> 'return' AS TEXT) END AS value 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.id = $1::BIGINT
