SELECT jobs.oban_jobs.id 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'cancelled' AND jobs.oban_jobs.cancelled_at >= CAST($1::VARCHAR AS TIMESTAMP WITHOUT TIME ZONE) AND jobs.oban_jobs.attempt < jobs.oban_jobs.max_attempts AND ($2::TEXT[] IS NULL OR jobs.oban_jobs.queue = any($2::TEXT[])) AND ($3::BIGINT[] IS NULL OR jobs.oban_jobs.id = any($3::BIGINT[]))
