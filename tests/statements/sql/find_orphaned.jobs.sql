SELECT jobs.oban_jobs.id 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'executing' AND coalesce(lower(jobs.oban_jobs.attempted_by[2]), '') = any($1::TEXT[]) AND (coalesce(lower(jobs.oban_jobs.attempted_by[2]), '') != '' OR coalesce(jobs.oban_jobs.attempted_at, jobs.oban_jobs.inserted_at) <= timezone('UTC', now()) - $2::FLOAT * interval '1 second') AND (EXISTS (SELECT * 
FROM jobs.oban_leaders 
WHERE jobs.oban_leaders.name = $3::VARCHAR AND jobs.oban_leaders.node = $4::VARCHAR AND jobs.oban_leaders.expires_at > timezone('UTC', now()))) AND jobs.oban_jobs.id != all(CAST($5::TEXT[] AS BIGINT[])) ORDER BY jobs.oban_jobs.id 
 LIMIT $6::INTEGER FOR UPDATE SKIP LOCKED
