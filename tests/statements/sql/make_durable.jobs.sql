SELECT jobs.oban_jobs.id 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.id = any(CAST($1::TEXT[] AS BIGINT[])) 
 LIMIT $2::INTEGER FOR NO KEY UPDATE SKIP LOCKED
