SELECT oban_jobs.queue, CAST(EXTRACT(epoch FROM CASE WHEN isfinite(oban_jobs.scheduled_at) THEN timezone('UTC', now()) - oban_jobs.scheduled_at END) AS FLOAT) AS seconds 
FROM oban_jobs 
WHERE oban_jobs.state IN ('scheduled', 'retryable') AND oban_jobs.scheduled_at <= timezone('UTC', now()) - $1::FLOAT * interval '1 second' ORDER BY oban_jobs.scheduled_at, oban_jobs.id 
 LIMIT $2::INTEGER
