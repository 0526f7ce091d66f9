SELECT oban_jobs.queue, CAST(oban_jobs.state AS TEXT) AS state, count(*) AS jobs, CAST(max(EXTRACT(epoch FROM CASE WHEN isfinite(oban_jobs.scheduled_at) THEN timezone('UTC', now()) - oban_jobs.scheduled_at END)) FILTER (WHERE oban_jobs.state = 'available') AS FLOAT) AS oldest 
FROM oban_jobs GROUP BY oban_jobs.queue, oban_jobs.state
