INSERT INTO oban_news (job_id, workflow_id, state) SELECT given.job, $1::BIGINT AS anon_1, given.state 
FROM unnest(CAST($2::TEXT[] AS BIGINT[]), $3::TEXT[]) AS given(job, state)
