SELECT oban_jobs.id 
FROM oban_jobs 
WHERE (oban_jobs.state = 'available' OR oban_jobs.state IN ('scheduled', 'retryable') AND oban_jobs.scheduled_at <= coalesce($1::TIMESTAMP WITHOUT TIME ZONE, timezone('UTC', clock_timestamp()))) AND oban_jobs.attempt < oban_jobs.max_attempts AND ($2::TEXT[] IS NULL OR oban_jobs.queue = any($2::TEXT[])) AND ($3::BIGINT[] IS NULL OR oban_jobs.id = any($3::BIGINT[])) ORDER BY oban_jobs.priority, oban_jobs.scheduled_at, oban_jobs.id
