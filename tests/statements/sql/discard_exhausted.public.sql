UPDATE oban_jobs SET state='discarded', errors=(CASE WHEN (jsonb_typeof(oban_jobs.errors) = $1::VARCHAR AND pg_column_size(oban_jobs.errors) <= 524288) THEN oban_jobs.errors WHEN (jsonb_typeof(oban_jobs.errors) = $1::VARCHAR) THEN (SELECT coalesce(jsonb_agg(entries.value ORDER BY entries.number), '[]'::jsonb) AS coalesce_1 
FROM (SELECT each.value AS value, each.number AS number, sum(octet_length(CAST(each.value AS TEXT))) OVER (ORDER BY each.number DESC) AS size 
FROM jsonb_array_elements(oban_jobs.errors) WITH ORDINALITY AS each(value, number)) AS entries 
WHERE entries.size <= 524288) ELSE '[]'::jsonb END || jsonb_build_array(jsonb_build_object($2::VARCHAR, oban_jobs.attempt, $3::VARCHAR, to_char(timezone('UTC', now()), $4::VARCHAR), $5::VARCHAR, concat($6::VARCHAR, left(array_to_string(oban_jobs.attempted_by, $7::VARCHAR), $8::INTEGER))))), discarded_at=timezone('UTC', now()) WHERE oban_jobs.id = any(array((SELECT oban_jobs.id 
FROM oban_jobs 
WHERE oban_jobs.state = 'available' AND oban_jobs.attempt >= oban_jobs.max_attempts AND (EXISTS (SELECT * 
FROM oban_leaders 
WHERE oban_leaders.name = $9::VARCHAR AND oban_leaders.node = $10::VARCHAR AND oban_leaders.expires_at > timezone('UTC', now()))) AND oban_jobs.id != all(CAST($11::TEXT[] AS BIGINT[])) 
 LIMIT $12::INTEGER FOR UPDATE SKIP LOCKED))) AND oban_jobs.state = 'available' AND oban_jobs.attempt >= oban_jobs.max_attempts AND (EXISTS (SELECT * 
FROM oban_leaders 
WHERE oban_leaders.name = $9::VARCHAR AND oban_leaders.node = $10::VARCHAR AND oban_leaders.expires_at > timezone('UTC', now()))) RETURNING oban_jobs.id, oban_jobs.queue, oban_jobs.worker, oban_jobs.attempt
