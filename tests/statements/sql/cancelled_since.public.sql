SELECT oban_jobs.id 
FROM oban_jobs 
WHERE oban_jobs.state = 'cancelled' AND oban_jobs.cancelled_at >= CAST($1::VARCHAR AS TIMESTAMP WITHOUT TIME ZONE) AND oban_jobs.attempt < oban_jobs.max_attempts AND ($2::TEXT[] IS NULL OR oban_jobs.queue = any($2::TEXT[])) AND ($3::BIGINT[] IS NULL OR oban_jobs.id = any($3::BIGINT[]))
