SELECT oban_jobs.id 
FROM oban_jobs 
WHERE oban_jobs.id = $1::BIGINT FOR UPDATE
