SELECT oban_steps.name, oban_steps.kind, CAST(oban_steps.value AS TEXT) AS value, CAST(EXTRACT(epoch FROM oban_steps.until - coalesce($1::TIMESTAMP WITHOUT TIME ZONE, timezone('UTC', clock_timestamp()))) AS DOUBLE PRECISION) AS anon_1 
FROM oban_steps 
WHERE oban_steps.job_id = $2::BIGINT
