SELECT jobs.oban_jobs.node_name, jobs.oban_jobs.id 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.workflow_id = $1::BIGINT AND jobs.oban_jobs.node_name = any($2::TEXT[]) UNION ALL SELECT jobs.oban_workflows.node_name, -jobs.oban_workflows.id 
FROM jobs.oban_workflows 
WHERE jobs.oban_workflows.parent_id = $1::BIGINT AND jobs.oban_workflows.node_name = any($2::TEXT[]) AND jobs.oban_workflows.graft_of IS NULL
