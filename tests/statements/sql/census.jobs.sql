SELECT jobs.oban_jobs.queue, CAST('available' AS TEXT) AS state, count(*) AS jobs, CAST(max(EXTRACT(epoch FROM CASE WHEN isfinite(jobs.oban_jobs.scheduled_at) THEN timezone('UTC', now()) - jobs.oban_jobs.scheduled_at END)) AS FLOAT) AS oldest 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'available' GROUP BY jobs.oban_jobs.queue UNION ALL SELECT jobs.oban_jobs.queue, CAST('executing' AS TEXT) AS state, count(*) AS jobs, CAST(NULL AS FLOAT) AS oldest 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'executing' GROUP BY jobs.oban_jobs.queue UNION ALL SELECT jobs.oban_jobs.queue, CAST(jobs.oban_jobs.state AS TEXT) AS state, count(*) AS jobs, CAST(NULL AS FLOAT) AS oldest 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state IN ('scheduled', 'retryable') GROUP BY jobs.oban_jobs.queue, jobs.oban_jobs.state
