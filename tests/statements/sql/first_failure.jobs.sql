SELECT jobs.oban_jobs.id, jobs.oban_jobs.node_name, CAST(jobs.oban_jobs.state AS TEXT) AS state, (jobs.oban_jobs.errors -> -1) ->> 'error' AS error 
FROM jobs.oban_jobs 
WHERE (jobs.oban_jobs.id = $1::BIGINT OR jobs.oban_jobs.workflow_id = any(jobs.oban_flow_tree(coalesce((SELECT jobs.oban_workflows.id 
FROM jobs.oban_workflows 
WHERE jobs.oban_workflows.graft_of BETWEEN $1::BIGINT AND $1::BIGINT ORDER BY jobs.oban_workflows.graft_of DESC, jobs.oban_workflows.id DESC 
 LIMIT $2::INTEGER), -$1::BIGINT)))) AND CAST(jobs.oban_jobs.state AS TEXT) IN ('discarded', 'cancelled') ORDER BY jobs.oban_jobs.state = 'cancelled', EXISTS (SELECT * 
FROM jobs.oban_deps 
WHERE jobs.oban_deps.job_id = jobs.oban_jobs.id AND jobs.oban_deps.met = 'f'), jobs.oban_jobs.id 
 LIMIT $3::INTEGER
