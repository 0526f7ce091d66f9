SELECT oban_steps.name, oban_steps.kind, oban_steps.until 
FROM oban_steps 
WHERE oban_steps.job_id = $1::BIGINT AND oban_steps.kind IN ('sleep', 'wait') AND (oban_steps.kind = 'wait' OR oban_steps.until > coalesce($2::TIMESTAMP WITHOUT TIME ZONE, timezone('UTC', clock_timestamp()))) ORDER BY oban_steps.at DESC 
 LIMIT $3::INTEGER
