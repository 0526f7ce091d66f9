WITH flow AS 
(SELECT oban_workflows.id AS id, oban_workflows.is_map AS is_map, oban_workflows.returns AS returns 
FROM oban_workflows 
WHERE oban_workflows.graft_of = $1::BIGINT OR oban_workflows.id = -$1::BIGINT ORDER BY oban_workflows.graft_of, oban_workflows.id DESC 
 LIMIT $2::INTEGER)
 SELECT oban_jobs.id AS node, flow.is_map 
FROM oban_jobs, flow 
WHERE oban_jobs.workflow_id = flow.id AND (flow.is_map OR oban_jobs.node_name = flow.returns) UNION ALL SELECT -oban_workflows.id, flow.is_map 
FROM oban_workflows, flow 
WHERE NOT flow.is_map AND oban_workflows.parent_id = flow.id AND oban_workflows.node_name = flow.returns AND oban_workflows.graft_of IS NULL ORDER BY node
