SELECT coalesce(max(jobs.oban_schema.version), $1::INTEGER) AS coalesce_1 
FROM jobs.oban_schema
