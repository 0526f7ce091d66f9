SELECT EXISTS (SELECT * 
FROM jobs.oban_deps 
WHERE jobs.oban_deps.dep_id = $1::BIGINT AND jobs.oban_deps.refs IS NOT NULL) AS is_used, coalesce((SELECT -"outer".id 
FROM jobs.oban_jobs JOIN jobs.oban_workflows AS "outer" ON "outer".id = jobs.oban_jobs.workflow_id 
WHERE ("outer".is_map OR "outer".returns IS NOT NULL AND "outer".returns = jobs.oban_jobs.node_name) AND jobs.oban_jobs.id = $1::BIGINT), (SELECT coalesce(flow.graft_of, CASE WHEN ("outer".is_map OR "outer".returns IS NOT NULL AND "outer".returns = flow.node_name) THEN -"outer".id END) AS coalesce_1 
FROM jobs.oban_workflows AS flow LEFT OUTER JOIN jobs.oban_workflows AS "outer" ON "outer".id = flow.parent_id 
WHERE -flow.id = $1::BIGINT)) AS around
