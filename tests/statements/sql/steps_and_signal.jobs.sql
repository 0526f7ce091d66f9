SELECT jobs.oban_steps.name, jobs.oban_steps.kind, CAST(jobs.oban_steps.value AS TEXT) AS value, CAST(EXTRACT(epoch FROM jobs.oban_steps.until - coalesce($1::TIMESTAMP WITHOUT TIME ZONE, timezone('UTC', clock_timestamp()))) AS DOUBLE PRECISION) AS anon_1 
FROM jobs.oban_steps 
WHERE jobs.oban_steps.job_id = CAST($2::BIGINT AS BIGINT) UNION ALL SELECT CAST(NULL AS TEXT) AS anon_2, waited.kind, waited.value, waited.rest 
FROM jobs.oban_wait(CAST($2::BIGINT AS BIGINT), CAST($3::VARCHAR AS TEXT), CAST($4::VARCHAR AS TEXT), CAST($5::INTEGER AS INTEGER), CAST($6::FLOAT AS DOUBLE PRECISION), CAST($1::TIMESTAMP WITHOUT TIME ZONE AS TIMESTAMP WITHOUT TIME ZONE)) AS waited
