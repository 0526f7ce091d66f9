SELECT coalesce(array_agg(coalesce(before.node_name, flow.node_name, flow.name, CAST(oban_deps.dep_id AS TEXT)) ORDER BY oban_deps.dep_id) FILTER (WHERE oban_deps.met = 'o'), '{}'::text[]) AS names, count(*) FILTER (WHERE oban_deps.met = 'o') AS open, count(*) FILTER (WHERE oban_deps.met = 'o' AND oban_outcome(oban_deps.dep_id) = 'f') AS failed, count(*) AS "all" 
FROM oban_deps LEFT OUTER JOIN oban_jobs AS before ON before.id = oban_deps.dep_id LEFT OUTER JOIN oban_workflows AS flow ON flow.id = -oban_deps.dep_id 
WHERE oban_deps.job_id = $1::BIGINT
