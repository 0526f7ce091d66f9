SELECT oban_jobs.id 
FROM oban_jobs 
WHERE oban_jobs.state = 'available' AND oban_jobs.attempt >= oban_jobs.max_attempts AND (EXISTS (SELECT * 
FROM oban_leaders 
WHERE oban_leaders.name = $1::VARCHAR AND oban_leaders.node = $2::VARCHAR AND oban_leaders.expires_at > timezone('UTC', now()))) AND oban_jobs.id != all(CAST($3::TEXT[] AS BIGINT[])) 
 LIMIT $4::INTEGER FOR UPDATE SKIP LOCKED
