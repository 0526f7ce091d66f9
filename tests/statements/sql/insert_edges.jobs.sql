INSERT INTO jobs.oban_deps (dep_id, job_id, on_fail, refs) SELECT given.dep, given.job, given.on_fail, CAST($1::VARCHAR AS JSONB) -> concat(given.dep, ':', given.job) AS anon_1 
FROM unnest(CAST(string_to_array($2::VARCHAR, ',') AS BIGINT[]), CAST(string_to_array($3::VARCHAR, ',') AS BIGINT[]), CAST(string_to_array($4::VARCHAR, ',') AS TEXT[])) AS given(dep, job, on_fail)
