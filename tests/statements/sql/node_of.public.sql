SELECT oban_jobs.node_name, oban_jobs.id 
FROM oban_jobs 
WHERE oban_jobs.workflow_id = $1::BIGINT AND oban_jobs.node_name = any($2::TEXT[]) UNION ALL SELECT oban_workflows.node_name, -oban_workflows.id 
FROM oban_workflows 
WHERE oban_workflows.parent_id = $1::BIGINT AND oban_workflows.node_name = any($2::TEXT[]) AND oban_workflows.graft_of IS NULL
