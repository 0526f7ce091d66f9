SELECT jobs.oban_jobs.id, CAST(jobs.oban_jobs.state AS TEXT) AS state, CASE WHEN (jsonb_typeof(jobs.oban_jobs.errors) = 'array') THEN jsonb_array_length(jobs.oban_jobs.errors) ELSE $1::INTEGER END AS failures, (jobs.oban_jobs.errors -> -1) ->> 'error' AS error, CASE WHEN (pg_column_size(jobs.oban_jobs.meta) > 65536) THEN NULL ELSE CASE WHEN (jobs.oban_jobs.state = 'completed' AND (jobs.oban_jobs.meta ->> 'recorded') = 'true') THEN CAST(jobs.oban_jobs.meta -> 'return' AS TEXT) END END AS value, pg_column_size(jobs.oban_jobs.meta) > 65536 AS is_large, CAST(jobs.oban_jobs.worker AS TEXT) AS worker, CASE WHEN (jobs.oban_jobs.state = 'completed' AND (EXISTS (SELECT * 
FROM jobs.oban_workflows 
WHERE jobs.oban_workflows.graft_of = jobs.oban_jobs.id))) THEN (jobs.oban_jobs.meta ->> 'recorded') IS DISTINCT FROM 'true' ELSE $2::BOOLEAN END AS has_flow 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.id = any(CAST($3::TEXT[] AS BIGINT[]))
