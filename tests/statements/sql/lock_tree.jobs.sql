SELECT jobs.oban_workflows.id 
FROM jobs.oban_workflows 
WHERE jobs.oban_workflows.id = (SELECT coalesce(jobs.oban_workflows.root_id, jobs.oban_workflows.id) AS coalesce_1 
FROM jobs.oban_workflows 
WHERE jobs.oban_workflows.id = $1::BIGINT) FOR NO KEY UPDATE
