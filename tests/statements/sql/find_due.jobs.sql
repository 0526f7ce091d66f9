SELECT jobs.oban_jobs.id 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state IN ('scheduled', 'retryable') AND jobs.oban_jobs.scheduled_at <= timezone('UTC', now()) AND (EXISTS (SELECT * 
FROM jobs.oban_leaders 
WHERE jobs.oban_leaders.name = $1::VARCHAR AND jobs.oban_leaders.node = $2::VARCHAR AND jobs.oban_leaders.expires_at > timezone('UTC', now()))) AND jobs.oban_jobs.id != all(CAST($3::TEXT[] AS BIGINT[])) ORDER BY jobs.oban_jobs.scheduled_at, jobs.oban_jobs.id 
 LIMIT $4::INTEGER FOR UPDATE SKIP LOCKED
