SELECT jobs.oban_jobs.id 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state IN ('scheduled', 'retryable') AND jobs.oban_jobs.scheduled_at <= timezone('UTC', now()) AND jobs.oban_jobs.queue = any($1::TEXT[]) AND jobs.oban_jobs.id != all(CAST($2::TEXT[] AS BIGINT[])) ORDER BY jobs.oban_jobs.scheduled_at, jobs.oban_jobs.id 
 LIMIT $3::INTEGER FOR UPDATE SKIP LOCKED
