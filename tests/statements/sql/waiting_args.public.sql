SELECT oban_jobs.id, CAST(oban_jobs.worker AS TEXT) AS worker, CAST(oban_jobs.args AS TEXT) AS args 
FROM oban_jobs 
WHERE oban_jobs.state IN ('available', 'scheduled', 'retryable', 'suspended')
