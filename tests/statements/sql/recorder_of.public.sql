SELECT CAST(oban_jobs.worker AS TEXT) AS worker 
FROM oban_jobs 
WHERE oban_jobs.id = $1::BIGINT AND CAST(oban_jobs.state AS TEXT) = 'completed' AND (oban_jobs.meta ->> 'recorded') = 'true'
