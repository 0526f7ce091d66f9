UPDATE jobs.oban_jobs SET state='discarded', errors=(CASE WHEN (jsonb_typeof(jobs.oban_jobs.errors) = $1::VARCHAR) THEN jobs.oban_jobs.errors ELSE CAST($2::JSONB AS JSONB) END || jsonb_build_array(jsonb_build_object($3::VARCHAR, jobs.oban_jobs.attempt, $4::VARCHAR, to_char(timezone('UTC', now()), $5::VARCHAR), $6::VARCHAR, concat($7::VARCHAR, left(array_to_string(jobs.oban_jobs.attempted_by, $8::VARCHAR), $9::INTEGER))))), discarded_at=timezone('UTC', now()) WHERE jobs.oban_jobs.id = any(array((SELECT jobs.oban_jobs.id 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'available' AND jobs.oban_jobs.attempt >= jobs.oban_jobs.max_attempts AND (EXISTS (SELECT * 
FROM jobs.oban_leaders 
WHERE jobs.oban_leaders.name = $10::VARCHAR AND jobs.oban_leaders.node = $11::VARCHAR AND jobs.oban_leaders.expires_at > timezone('UTC', now()))) 
 LIMIT $12::INTEGER FOR UPDATE SKIP LOCKED))) AND jobs.oban_jobs.state = 'available' AND jobs.oban_jobs.attempt >= jobs.oban_jobs.max_attempts AND (EXISTS (SELECT * 
FROM jobs.oban_leaders 
WHERE jobs.oban_leaders.name = $10::VARCHAR AND jobs.oban_leaders.node = $11::VARCHAR AND jobs.oban_leaders.expires_at > timezone('UTC', now()))) RETURNING jobs.oban_jobs.id
