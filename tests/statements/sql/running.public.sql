SELECT oban_jobs.id, oban_jobs.queue, CAST(oban_jobs.worker AS TEXT) AS worker, oban_jobs.attempt, oban_jobs.max_attempts, oban_jobs.attempted_by[$1::INTEGER] AS node, CAST(CASE WHEN isfinite(oban_jobs.attempted_at) THEN EXTRACT(epoch FROM timezone('UTC', now()) - oban_jobs.attempted_at) END AS FLOAT) AS age, CASE WHEN (oban_jobs.id IS NOT NULL) THEN (SELECT jsonb_build_array(oban_progress.done, oban_progress.total, oban_progress.note, EXTRACT(epoch FROM timezone('UTC', oban_progress.at))) AS jsonb_build_array_1 
FROM oban_progress 
WHERE oban_progress.job_id = oban_jobs.id) END AS progress 
FROM oban_jobs 
WHERE oban_jobs.state = 'executing' ORDER BY oban_jobs.attempted_at NULLS LAST, oban_jobs.id 
 LIMIT $2::INTEGER
