WITH flow AS 
(SELECT jobs.oban_workflows.id AS id, jobs.oban_workflows.is_map AS is_map, jobs.oban_workflows.returns AS returns 
FROM jobs.oban_workflows 
WHERE jobs.oban_workflows.graft_of = $1::BIGINT OR jobs.oban_workflows.id = -$1::BIGINT ORDER BY jobs.oban_workflows.graft_of, jobs.oban_workflows.id DESC 
 LIMIT $2::INTEGER)
 SELECT jobs.oban_jobs.id AS node, flow.is_map 
FROM jobs.oban_jobs, flow 
WHERE jobs.oban_jobs.workflow_id = flow.id AND (flow.is_map OR jobs.oban_jobs.node_name = flow.returns) UNION ALL SELECT -jobs.oban_workflows.id, flow.is_map 
FROM jobs.oban_workflows, flow 
WHERE NOT flow.is_map AND jobs.oban_workflows.parent_id = flow.id AND jobs.oban_workflows.node_name = flow.returns AND jobs.oban_workflows.graft_of IS NULL ORDER BY node
