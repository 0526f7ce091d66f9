UPDATE oban_jobs SET cancelled_at=CASE WHEN (oban_jobs.state = 'cancelled') THEN timezone('UTC', now()) ELSE oban_jobs.cancelled_at END, completed_at=CASE WHEN (oban_jobs.state = 'completed') THEN timezone('UTC', now()) ELSE oban_jobs.completed_at END, discarded_at=CASE WHEN (oban_jobs.state = 'discarded') THEN timezone('UTC', now()) ELSE oban_jobs.discarded_at END WHERE oban_jobs.id = any(array_cat(array_cat(array((SELECT oban_jobs.id 
FROM oban_jobs 
WHERE oban_jobs.state = 'completed' AND oban_jobs.completed_at IS NULL AND (EXISTS (SELECT * 
FROM oban_leaders 
WHERE oban_leaders.name = $1::VARCHAR AND oban_leaders.node = $2::VARCHAR AND oban_leaders.expires_at > timezone('UTC', now()))) AND oban_jobs.id != all(CAST($3::TEXT[] AS BIGINT[])) 
 LIMIT $4::INTEGER FOR UPDATE SKIP LOCKED)), array((SELECT oban_jobs.id 
FROM oban_jobs 
WHERE oban_jobs.state = 'discarded' AND oban_jobs.discarded_at IS NULL AND (EXISTS (SELECT * 
FROM oban_leaders 
WHERE oban_leaders.name = $1::VARCHAR AND oban_leaders.node = $2::VARCHAR AND oban_leaders.expires_at > timezone('UTC', now()))) AND oban_jobs.id != all(CAST($3::TEXT[] AS BIGINT[])) 
 LIMIT $4::INTEGER FOR UPDATE SKIP LOCKED))), array((SELECT oban_jobs.id 
FROM oban_jobs 
WHERE oban_jobs.state = 'cancelled' AND oban_jobs.cancelled_at IS NULL AND (EXISTS (SELECT * 
FROM oban_leaders 
WHERE oban_leaders.name = $1::VARCHAR AND oban_leaders.node = $2::VARCHAR AND oban_leaders.expires_at > timezone('UTC', now()))) AND oban_jobs.id != all(CAST($3::TEXT[] AS BIGINT[])) 
 LIMIT $4::INTEGER FOR UPDATE SKIP LOCKED)))) RETURNING oban_jobs.id
