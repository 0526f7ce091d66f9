SELECT jobs.oban_workflows.uniq_key, jobs.oban_workflows.id 
FROM jobs.oban_workflows 
WHERE jobs.oban_workflows.uniq_key = any($1::TEXT[])
