SELECT CAST(oban_jobs.state AS TEXT) = 'completed' AS is_completed, CASE WHEN (oban_jobs.state = 'completed' AND (oban_jobs.meta ->> 'recorded') = 'true') THEN CAST(oban_jobs.meta -> 'return' AS TEXT) END AS value 
FROM oban_jobs 
WHERE oban_jobs.id = $1::BIGINT
