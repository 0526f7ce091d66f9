SELECT oban_workflows.id 
FROM oban_workflows 
WHERE oban_workflows.id = (SELECT coalesce(oban_workflows.root_id, oban_workflows.id) AS coalesce_1 
FROM oban_workflows 
WHERE oban_workflows.id = $1::BIGINT) FOR NO KEY UPDATE
