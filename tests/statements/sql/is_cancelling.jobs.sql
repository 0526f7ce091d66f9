SELECT jobs.oban_jobs.id 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.id = $1::BIGINT AND jobs.oban_jobs.cancel_at IS NOT NULL
