SELECT jobs.oban_jobs.id 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.id > $1::BIGINT AND (jobs.oban_jobs.meta ? 'callback') ORDER BY jobs.oban_jobs.id
