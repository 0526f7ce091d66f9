SELECT jobs.oban_steps.name, jobs.oban_steps.kind, CAST(jobs.oban_steps.value AS TEXT) AS value, CAST(EXTRACT(epoch FROM jobs.oban_steps.until - coalesce($1::TIMESTAMP WITHOUT TIME ZONE, timezone('UTC', clock_timestamp()))) AS DOUBLE PRECISION) AS anon_1 
FROM jobs.oban_steps 
WHERE jobs.oban_steps.job_id = $2::BIGINT
