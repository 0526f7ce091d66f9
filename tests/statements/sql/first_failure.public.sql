SELECT oban_jobs.id, oban_jobs.node_name, CAST(oban_jobs.state AS TEXT) AS state, (oban_jobs.errors -> -1) ->> 'error' AS error 
FROM oban_jobs 
WHERE (oban_jobs.id = $1::BIGINT OR oban_jobs.workflow_id = any(oban_flow_tree(coalesce((SELECT oban_workflows.id 
FROM oban_workflows 
WHERE oban_workflows.graft_of BETWEEN $1::BIGINT AND $1::BIGINT ORDER BY oban_workflows.graft_of DESC, oban_workflows.id DESC 
 LIMIT $2::INTEGER), -$1::BIGINT)))) AND CAST(oban_jobs.state AS TEXT) IN ('discarded', 'cancelled') ORDER BY oban_jobs.state = 'cancelled', EXISTS (SELECT * 
FROM oban_deps 
WHERE oban_deps.job_id = oban_jobs.id AND oban_deps.met = 'f'), oban_jobs.id 
 LIMIT $3::INTEGER
