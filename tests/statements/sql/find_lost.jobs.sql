SELECT jobs.oban_jobs.id 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'executing' AND jobs.oban_jobs.queue = $1::VARCHAR AND jobs.oban_jobs.attempted_by[2] = $2::VARCHAR AND jobs.oban_jobs.id != all($3::BIGINT[]) AND jobs.oban_jobs.id != all(CAST($4::TEXT[] AS BIGINT[])) ORDER BY jobs.oban_jobs.id 
 LIMIT $5::INTEGER FOR UPDATE SKIP LOCKED
