SELECT ended.id, ended.state 
FROM unnest($1::BIGINT[], $2::SMALLINT[], $3::TEXT[], $4::TIMESTAMP WITHOUT TIME ZONE[]) AS given(id, attempt, producer, attempted_at) JOIN LATERAL (SELECT jobs.oban_jobs.id AS id, CAST(jobs.oban_jobs.state AS TEXT) AS state 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.id = given.id AND (CAST(jobs.oban_jobs.state AS TEXT) = 'completed' AND jobs.oban_jobs.attempt = given.attempt OR CAST(jobs.oban_jobs.state AS TEXT) IN ('scheduled', 'available') AND jobs.oban_jobs.attempt = given.attempt - 1) AND jobs.oban_jobs.attempted_by[2] = given.producer AND jobs.oban_jobs.attempted_at = given.attempted_at 
 LIMIT $5::INTEGER) AS ended ON true
