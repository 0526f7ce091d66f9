SELECT oban_jobs.id 
FROM oban_jobs 
WHERE oban_jobs.id = $1::BIGINT AND oban_jobs.cancel_at IS NOT NULL
