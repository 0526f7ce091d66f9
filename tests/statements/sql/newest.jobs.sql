SELECT max(jobs.oban_jobs.id) AS max_1 
FROM jobs.oban_jobs
