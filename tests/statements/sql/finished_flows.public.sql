SELECT oban_workflows.id 
FROM oban_workflows 
WHERE oban_workflows.id = any(CAST($1::TEXT[] AS BIGINT[])) AND oban_workflows.finished_at IS NOT NULL
