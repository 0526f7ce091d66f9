SELECT jobs.oban_steps.name, jobs.oban_steps.kind, jobs.oban_steps.value, jobs.oban_steps.until, jobs.oban_steps.at 
FROM jobs.oban_steps 
WHERE jobs.oban_steps.job_id = $1::BIGINT ORDER BY jobs.oban_steps.at, jobs.oban_steps.name
