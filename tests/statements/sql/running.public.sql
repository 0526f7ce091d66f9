SELECT oban_jobs.id, oban_jobs.queue, CAST(oban_jobs.worker AS TEXT) AS worker, oban_jobs.attempt, oban_jobs.max_attempts, oban_jobs.attempted_by[$1::INTEGER] AS node, CAST(CASE WHEN isfinite(oban_jobs.attempted_at) THEN EXTRACT(epoch FROM timezone('UTC', now()) - oban_jobs.attempted_at) END AS FLOAT) AS age 
FROM oban_jobs 
WHERE oban_jobs.state = 'executing' ORDER BY oban_jobs.attempted_at NULLS LAST, oban_jobs.id 
 LIMIT $2::INTEGER
