SELECT oban_jobs.id 
FROM oban_jobs 
WHERE oban_jobs.state = 'available' AND oban_jobs.queue = $1::VARCHAR AND oban_jobs.attempt < oban_jobs.max_attempts AND oban_jobs.worker != all($2::TEXT[]) AND oban_jobs.id != all(CAST($3::TEXT[] AS BIGINT[])) ORDER BY oban_jobs.priority, oban_jobs.scheduled_at, oban_jobs.id 
 LIMIT $4::INTEGER FOR UPDATE SKIP LOCKED
