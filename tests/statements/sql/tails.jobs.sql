SELECT jobs.oban_jobs.id, right((jobs.oban_jobs.errors -> $1::INTEGER) ->> $2::VARCHAR, $3::INTEGER) AS tail 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.id = any($4::BIGINT[]) AND ((jobs.oban_jobs.errors -> $5::INTEGER) ->> $6::VARCHAR) IS NOT NULL
