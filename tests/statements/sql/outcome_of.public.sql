SELECT oban_workflows.state, CAST(oban_value(-$1::BIGINT) AS TEXT) AS oban_value_1 
FROM oban_workflows 
WHERE oban_workflows.id = $1::BIGINT
