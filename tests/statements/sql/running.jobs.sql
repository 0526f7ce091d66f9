SELECT jobs.oban_jobs.id, jobs.oban_jobs.queue, CAST(jobs.oban_jobs.worker AS TEXT) AS worker, jobs.oban_jobs.attempt, jobs.oban_jobs.max_attempts, jobs.oban_jobs.attempted_by[$1::INTEGER] AS node, CAST(CASE WHEN isfinite(jobs.oban_jobs.attempted_at) THEN EXTRACT(epoch FROM timezone('UTC', now()) - jobs.oban_jobs.attempted_at) END AS FLOAT) AS age, CASE WHEN (jobs.oban_jobs.id IS NOT NULL) THEN (SELECT jsonb_build_array(jobs.oban_progress.done, jobs.oban_progress.total, jobs.oban_progress.note, EXTRACT(epoch FROM timezone('UTC', jobs.oban_progress.at))) AS jsonb_build_array_1 
FROM jobs.oban_progress 
WHERE jobs.oban_progress.job_id = jobs.oban_jobs.id) END AS progress 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'executing' ORDER BY jobs.oban_jobs.attempted_at NULLS LAST, jobs.oban_jobs.id 
 LIMIT $2::INTEGER
