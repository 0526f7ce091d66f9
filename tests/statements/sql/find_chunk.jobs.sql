SELECT jobs.oban_jobs.id 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'available' AND jobs.oban_jobs.queue = $1::VARCHAR AND jobs.oban_jobs.chunk_key = (SELECT jobs.oban_jobs.chunk_key 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.id = $2::BIGINT) AND jobs.oban_jobs.attempt < jobs.oban_jobs.max_attempts AND jobs.oban_jobs.worker != all($3::TEXT[]) AND jobs.oban_jobs.id != all(CAST($4::TEXT[] AS BIGINT[])) ORDER BY jobs.oban_jobs.chunk_key, jobs.oban_jobs.priority, jobs.oban_jobs.scheduled_at, jobs.oban_jobs.id 
 LIMIT $5::INTEGER FOR UPDATE SKIP LOCKED
