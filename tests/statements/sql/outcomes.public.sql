SELECT oban_jobs.id, CAST(oban_jobs.state AS TEXT) AS state, CASE WHEN (jsonb_typeof(oban_jobs.errors) = 'array') THEN jsonb_array_length(oban_jobs.errors) ELSE $1::INTEGER END AS failures, (oban_jobs.errors -> -1) ->> 'error' AS error, CASE WHEN (pg_column_size(oban_jobs.meta) > 65536) THEN NULL ELSE CASE WHEN (oban_jobs.state = 'completed' AND (oban_jobs.meta ->> 'recorded') = 'true') THEN CAST(oban_jobs.meta -> 'return' AS TEXT) END END AS value, pg_column_size(oban_jobs.meta) > 65536 AS is_large, CAST(oban_jobs.worker AS TEXT) AS worker, CASE WHEN (oban_jobs.state = 'completed' AND (EXISTS (SELECT * 
FROM oban_workflows 
WHERE oban_workflows.graft_of = oban_jobs.id))) THEN (oban_jobs.meta ->> 'recorded') IS DISTINCT FROM 'true' ELSE $2::BOOLEAN END AS has_flow 
FROM oban_jobs 
WHERE oban_jobs.id = any(CAST($3::TEXT[] AS BIGINT[]))
