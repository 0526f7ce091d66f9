INSERT INTO oban_deps (dep_id, job_id, on_fail, refs) SELECT given.dep, given.job, given.on_fail, CAST(given.refs AS JSONB) AS refs 
FROM unnest(CAST($1::TEXT[] AS BIGINT[]), CAST($2::TEXT[] AS BIGINT[]), $3::TEXT[], $4::TEXT[]) AS given(dep, job, on_fail, refs)
