SELECT oban_jobs.id 
FROM oban_jobs 
WHERE oban_jobs.state = 'available' AND oban_jobs.queue = $1::VARCHAR AND oban_jobs.chunk_key = (SELECT oban_jobs.chunk_key 
FROM oban_jobs 
WHERE oban_jobs.id = $2::BIGINT) AND oban_jobs.attempt < oban_jobs.max_attempts AND oban_jobs.worker != all($3::TEXT[]) AND oban_jobs.id != all(CAST($4::TEXT[] AS BIGINT[])) ORDER BY oban_jobs.chunk_key, oban_jobs.priority, oban_jobs.scheduled_at, oban_jobs.id 
 LIMIT $5::INTEGER FOR UPDATE SKIP LOCKED
