SELECT oban_jobs.id, right((oban_jobs.errors -> $1::INTEGER) ->> $2::VARCHAR, $3::INTEGER) AS tail 
FROM oban_jobs 
WHERE oban_jobs.id = any($4::BIGINT[]) AND ((oban_jobs.errors -> $5::INTEGER) ->> $6::VARCHAR) IS NOT NULL
