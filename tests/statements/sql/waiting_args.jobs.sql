SELECT jobs.oban_jobs.id, CAST(jobs.oban_jobs.worker AS TEXT) AS worker, CAST(jobs.oban_jobs.args AS TEXT) AS args, CASE WHEN (jobs.oban_jobs.state = 'suspended' AND jobs.oban_jobs.remaining IS NOT NULL) THEN (SELECT array_agg(CAST(pair.value AS JSONB) #>> '{0,0}') AS array_agg_1 
FROM jobs.oban_deps JOIN jsonb_array_elements(jobs.oban_deps.refs) AS pair(value) ON true 
WHERE jobs.oban_deps.job_id = jobs.oban_jobs.id) END AS results 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state IN ('available', 'scheduled', 'retryable', 'suspended')
