SELECT jobs.oban_jobs.queue, CAST(EXTRACT(epoch FROM CASE WHEN isfinite(jobs.oban_jobs.scheduled_at) THEN timezone('UTC', now()) - jobs.oban_jobs.scheduled_at END) AS FLOAT) AS seconds 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state IN ('scheduled', 'retryable') AND jobs.oban_jobs.scheduled_at <= timezone('UTC', now()) - $1::FLOAT * interval '1 second' ORDER BY jobs.oban_jobs.scheduled_at, jobs.oban_jobs.id 
 LIMIT $2::INTEGER
