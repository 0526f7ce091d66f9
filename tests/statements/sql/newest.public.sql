SELECT max(oban_jobs.id) AS max_1 
FROM oban_jobs
