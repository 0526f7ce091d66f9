SELECT max(jobs.oban_schema.version) AS max_1 
FROM jobs.oban_schema
