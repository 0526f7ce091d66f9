SELECT oban_workflows.uniq_key, oban_workflows.id 
FROM oban_workflows 
WHERE oban_workflows.uniq_key = any($1::TEXT[])
