SELECT jobs.oban_workflows.id 
FROM jobs.oban_workflows 
WHERE jobs.oban_workflows.id = any(CAST($1::TEXT[] AS BIGINT[])) AND jobs.oban_workflows.finished_at IS NOT NULL
