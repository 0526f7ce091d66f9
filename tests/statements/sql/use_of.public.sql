SELECT EXISTS (SELECT * 
FROM oban_deps 
WHERE oban_deps.dep_id = $1::BIGINT AND oban_deps.refs IS NOT NULL) AS is_used, coalesce((SELECT -"outer".id 
FROM oban_jobs JOIN oban_workflows AS "outer" ON "outer".id = oban_jobs.workflow_id 
WHERE ("outer".is_map OR "outer".returns IS NOT NULL AND "outer".returns = oban_jobs.node_name) AND oban_jobs.id = $1::BIGINT), (SELECT coalesce(flow.graft_of, CASE WHEN ("outer".is_map OR "outer".returns IS NOT NULL AND "outer".returns = flow.node_name) THEN -"outer".id END) AS coalesce_1 
FROM oban_workflows AS flow LEFT OUTER JOIN oban_workflows AS "outer" ON "outer".id = flow.parent_id 
WHERE -flow.id = $1::BIGINT)) AS around
