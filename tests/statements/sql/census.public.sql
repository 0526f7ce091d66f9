SELECT oban_jobs.queue, CAST('available' AS TEXT) AS state, count(*) AS jobs, CAST(max(EXTRACT(epoch FROM CASE WHEN isfinite(oban_jobs.scheduled_at) THEN timezone('UTC', now()) - oban_jobs.scheduled_at END)) AS FLOAT) AS oldest 
FROM oban_jobs 
WHERE oban_jobs.state = 'available' GROUP BY oban_jobs.queue UNION ALL SELECT oban_jobs.queue, CAST('executing' AS TEXT) AS state, count(*) AS jobs, CAST(NULL AS FLOAT) AS oldest 
FROM oban_jobs 
WHERE oban_jobs.state = 'executing' GROUP BY oban_jobs.queue UNION ALL SELECT oban_jobs.queue, CAST(oban_jobs.state AS TEXT) AS state, count(*) AS jobs, CAST(NULL AS FLOAT) AS oldest 
FROM oban_jobs 
WHERE oban_jobs.state IN ('scheduled', 'retryable') GROUP BY oban_jobs.queue, oban_jobs.state
