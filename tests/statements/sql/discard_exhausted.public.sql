UPDATE oban_jobs SET state='discarded', errors=(CASE WHEN (jsonb_typeof(oban_jobs.errors) = $1::VARCHAR) THEN oban_jobs.errors ELSE CAST($2::JSONB AS JSONB) END || jsonb_build_array(jsonb_build_object($3::VARCHAR, oban_jobs.attempt, $4::VARCHAR, to_char(timezone('UTC', now()), $5::VARCHAR), $6::VARCHAR, concat($7::VARCHAR, left(array_to_string(oban_jobs.attempted_by, $8::VARCHAR), $9::INTEGER))))), discarded_at=timezone('UTC', now()) WHERE oban_jobs.id = any(array((SELECT oban_jobs.id 
FROM oban_jobs 
WHERE oban_jobs.state = 'available' AND oban_jobs.attempt >= oban_jobs.max_attempts AND (EXISTS (SELECT * 
FROM oban_leaders 
WHERE oban_leaders.name = $10::VARCHAR AND oban_leaders.node = $11::VARCHAR AND oban_leaders.expires_at > timezone('UTC', now()))) 
 LIMIT $12::INTEGER FOR UPDATE SKIP LOCKED))) AND oban_jobs.state = 'available' AND oban_jobs.attempt >= oban_jobs.max_attempts AND (EXISTS (SELECT * 
FROM oban_leaders 
WHERE oban_leaders.name = $10::VARCHAR AND oban_leaders.node = $11::VARCHAR AND oban_leaders.expires_at > timezone('UTC', now()))) RETURNING oban_jobs.id
