UPDATE jobs.oban_jobs SET cancelled_at=CASE WHEN (jobs.oban_jobs.state = 'cancelled') THEN timezone('UTC', now()) ELSE jobs.oban_jobs.cancelled_at END, completed_at=CASE WHEN (jobs.oban_jobs.state = 'completed') THEN timezone('UTC', now()) ELSE jobs.oban_jobs.completed_at END, discarded_at=CASE WHEN (jobs.oban_jobs.state = 'discarded') THEN timezone('UTC', now()) ELSE jobs.oban_jobs.discarded_at END WHERE jobs.oban_jobs.id = any(array_cat(array_cat(array((SELECT jobs.oban_jobs.id 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'completed' AND jobs.oban_jobs.completed_at IS NULL AND (EXISTS (SELECT * 
FROM jobs.oban_leaders 
WHERE jobs.oban_leaders.name = $1::VARCHAR AND jobs.oban_leaders.node = $2::VARCHAR AND jobs.oban_leaders.expires_at > timezone('UTC', now()))) AND jobs.oban_jobs.id != all(CAST($3::TEXT[] AS BIGINT[])) 
 LIMIT $4::INTEGER FOR UPDATE SKIP LOCKED)), array((SELECT jobs.oban_jobs.id 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'discarded' AND jobs.oban_jobs.discarded_at IS NULL AND (EXISTS (SELECT * 
FROM jobs.oban_leaders 
WHERE jobs.oban_leaders.name = $1::VARCHAR AND jobs.oban_leaders.node = $2::VARCHAR AND jobs.oban_leaders.expires_at > timezone('UTC', now()))) AND jobs.oban_jobs.id != all(CAST($3::TEXT[] AS BIGINT[])) 
 LIMIT $4::INTEGER FOR UPDATE SKIP LOCKED))), array((SELECT jobs.oban_jobs.id 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'cancelled' AND jobs.oban_jobs.cancelled_at IS NULL AND (EXISTS (SELECT * 
FROM jobs.oban_leaders 
WHERE jobs.oban_leaders.name = $1::VARCHAR AND jobs.oban_leaders.node = $2::VARCHAR AND jobs.oban_leaders.expires_at > timezone('UTC', now()))) AND jobs.oban_jobs.id != all(CAST($3::TEXT[] AS BIGINT[])) 
 LIMIT $4::INTEGER FOR UPDATE SKIP LOCKED)))) RETURNING jobs.oban_jobs.id
