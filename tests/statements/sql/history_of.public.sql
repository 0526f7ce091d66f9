SELECT oban_steps.name, oban_steps.kind, oban_steps.value, oban_steps.until, oban_steps.at 
FROM oban_steps 
WHERE oban_steps.job_id = $1::BIGINT ORDER BY oban_steps.at, oban_steps.name
