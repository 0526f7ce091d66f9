SELECT jobs.oban_jobs.id, CAST(jobs.oban_jobs.worker AS TEXT) AS worker, CAST(jobs.oban_jobs.args AS TEXT) AS args 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state IN ('available', 'scheduled', 'retryable', 'suspended')
