SELECT ended.id, ended.state 
FROM unnest($1::BIGINT[], $2::SMALLINT[], $3::TEXT[], $4::TIMESTAMP WITHOUT TIME ZONE[]) AS given(id, attempt, producer, attempted_at) JOIN LATERAL (SELECT oban_jobs.id AS id, CAST(oban_jobs.state AS TEXT) AS state 
FROM oban_jobs 
WHERE oban_jobs.id = given.id AND (CAST(oban_jobs.state AS TEXT) = 'completed' AND oban_jobs.attempt = given.attempt OR CAST(oban_jobs.state AS TEXT) IN ('scheduled', 'available') AND oban_jobs.attempt = given.attempt - 1) AND oban_jobs.attempted_by[2] = given.producer AND oban_jobs.attempted_at = given.attempted_at 
 LIMIT $5::INTEGER) AS ended ON true
