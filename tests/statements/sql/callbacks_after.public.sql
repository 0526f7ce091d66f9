SELECT oban_jobs.id 
FROM oban_jobs 
WHERE oban_jobs.id > $1::BIGINT AND (oban_jobs.meta ? 'callback') ORDER BY oban_jobs.id
