SELECT oban_jobs.id 
FROM oban_jobs 
WHERE oban_jobs.state IN ('scheduled', 'retryable') AND oban_jobs.scheduled_at <= timezone('UTC', now()) AND oban_jobs.queue = any($1::TEXT[]) AND oban_jobs.id != all(CAST($2::TEXT[] AS BIGINT[])) ORDER BY oban_jobs.scheduled_at, oban_jobs.id 
 LIMIT $3::INTEGER FOR UPDATE SKIP LOCKED
