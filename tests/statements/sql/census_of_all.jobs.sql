SELECT jobs.oban_jobs.queue, CAST(jobs.oban_jobs.state AS TEXT) AS state, count(*) AS jobs, CAST(max(EXTRACT(epoch FROM CASE WHEN isfinite(jobs.oban_jobs.scheduled_at) THEN timezone('UTC', now()) - jobs.oban_jobs.scheduled_at END)) FILTER (WHERE jobs.oban_jobs.state = 'available') AS FLOAT) AS oldest 
FROM jobs.oban_jobs GROUP BY jobs.oban_jobs.queue, jobs.oban_jobs.state
