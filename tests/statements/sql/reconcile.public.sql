UPDATE oban_jobs SET state=CAST(CASE WHEN (oban_jobs.cancel_at IS NOT NULL) THEN $1::VARCHAR ELSE $2::VARCHAR END AS oban_job_state), attempt=greatest(oban_jobs.attempt - $3::SMALLINT, $4::INTEGER), cancelled_at=CASE WHEN (oban_jobs.cancel_at IS NOT NULL) THEN timezone('UTC', now()) ELSE oban_jobs.cancelled_at END, cancel_at=NULL WHERE oban_jobs.id = any(array((SELECT oban_jobs.id 
FROM oban_jobs 
WHERE oban_jobs.state = 'executing' AND oban_jobs.queue = $5::VARCHAR AND oban_jobs.attempted_by[2] = $6::VARCHAR AND oban_jobs.id != all($7::BIGINT[]) AND oban_jobs.id != all(CAST($8::TEXT[] AS BIGINT[])) ORDER BY oban_jobs.id 
 LIMIT $9::INTEGER FOR UPDATE SKIP LOCKED))) AND oban_jobs.state = 'executing' RETURNING oban_jobs.id
