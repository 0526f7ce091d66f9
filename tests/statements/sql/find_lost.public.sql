SELECT oban_jobs.id 
FROM oban_jobs 
WHERE oban_jobs.state = 'executing' AND oban_jobs.queue = $1::VARCHAR AND oban_jobs.attempted_by[2] = $2::VARCHAR AND oban_jobs.id != all($3::BIGINT[]) AND oban_jobs.id != all(CAST($4::TEXT[] AS BIGINT[])) ORDER BY oban_jobs.id 
 LIMIT $5::INTEGER FOR UPDATE SKIP LOCKED
