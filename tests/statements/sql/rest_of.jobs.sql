SELECT jobs.oban_steps.name, jobs.oban_steps.kind, jobs.oban_steps.until 
FROM jobs.oban_steps 
WHERE jobs.oban_steps.job_id = $1::BIGINT AND jobs.oban_steps.kind IN ('sleep', 'wait') AND (jobs.oban_steps.kind = 'wait' OR jobs.oban_steps.until > coalesce($2::TIMESTAMP WITHOUT TIME ZONE, timezone('UTC', clock_timestamp()))) ORDER BY jobs.oban_steps.at DESC 
 LIMIT $3::INTEGER
