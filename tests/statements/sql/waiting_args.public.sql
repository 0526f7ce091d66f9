SELECT oban_jobs.id, CAST(oban_jobs.worker AS TEXT) AS worker, CAST(oban_jobs.args AS TEXT) AS args, CASE WHEN (oban_jobs.state = 'suspended' AND oban_jobs.remaining IS NOT NULL) THEN (SELECT array_agg(CAST(pair.value AS JSONB) #>> '{0,0}') AS array_agg_1 
FROM oban_deps JOIN jsonb_array_elements(oban_deps.refs) AS pair(value) ON true 
WHERE oban_deps.job_id = oban_jobs.id) END AS results 
FROM oban_jobs 
WHERE oban_jobs.state IN ('available', 'scheduled', 'retryable', 'suspended')
