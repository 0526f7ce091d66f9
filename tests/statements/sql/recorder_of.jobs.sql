SELECT CAST(jobs.oban_jobs.worker AS TEXT) AS worker 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.id = $1::BIGINT AND CAST(jobs.oban_jobs.state AS TEXT) = 'completed' AND (jobs.oban_jobs.meta ->> 'recorded') = 'true'
