SELECT oban_jobs.id 
FROM oban_jobs 
WHERE oban_jobs.state = 'executing' AND coalesce(lower(oban_jobs.attempted_by[2]), '') = any($1::TEXT[]) AND (coalesce(lower(oban_jobs.attempted_by[2]), '') != '' OR coalesce(oban_jobs.attempted_at, oban_jobs.inserted_at) <= timezone('UTC', now()) - $2::FLOAT * interval '1 second') AND (EXISTS (SELECT * 
FROM oban_leaders 
WHERE oban_leaders.name = $3::VARCHAR AND oban_leaders.node = $4::VARCHAR AND oban_leaders.expires_at > timezone('UTC', now()))) AND oban_jobs.id != all(CAST($5::TEXT[] AS BIGINT[])) ORDER BY oban_jobs.id 
 LIMIT $6::INTEGER FOR UPDATE SKIP LOCKED
