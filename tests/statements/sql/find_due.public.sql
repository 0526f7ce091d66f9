SELECT oban_jobs.id 
FROM oban_jobs 
WHERE oban_jobs.state IN ('scheduled', 'retryable') AND oban_jobs.scheduled_at <= timezone('UTC', now()) AND (EXISTS (SELECT * 
FROM oban_leaders 
WHERE oban_leaders.name = $1::VARCHAR AND oban_leaders.node = $2::VARCHAR AND oban_leaders.expires_at > timezone('UTC', now()))) AND oban_jobs.id != all(CAST($3::TEXT[] AS BIGINT[])) ORDER BY oban_jobs.scheduled_at, oban_jobs.id 
 LIMIT $4::INTEGER FOR UPDATE SKIP LOCKED
