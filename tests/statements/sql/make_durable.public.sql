SELECT oban_jobs.id 
FROM oban_jobs 
WHERE oban_jobs.id = any(CAST($1::TEXT[] AS BIGINT[])) 
 LIMIT $2::INTEGER FOR NO KEY UPDATE SKIP LOCKED
