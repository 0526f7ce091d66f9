SELECT jobs.oban_workflows.state, CAST(jobs.oban_value(-$1::BIGINT) AS TEXT) AS oban_value_1 
FROM jobs.oban_workflows 
WHERE jobs.oban_workflows.id = $1::BIGINT
