SELECT ended.id, ended.name, (SELECT CAST(jsonb_object_agg(by_state.state, by_state.number) AS TEXT) AS jsonb_object_agg_1 
FROM (SELECT CAST(jobs.oban_jobs.state AS TEXT) AS state, count(*) AS number 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.batch_id = ended.id GROUP BY jobs.oban_jobs.state) AS by_state) AS states, CAST(EXTRACT(epoch FROM ended.finished_at - ended.inserted_at) AS DOUBLE PRECISION) AS took 
FROM jobs.oban_batches AS ended 
WHERE ended.finished_at >= CAST($1::VARCHAR AS TIMESTAMP WITHOUT TIME ZONE) AND coalesce(CAST(CAST(ended.xmin AS TEXT) AS BIGINT) = CAST($2::VARCHAR AS BIGINT) % 4294967296, true)
