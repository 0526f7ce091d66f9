SELECT jobs.oban_jobs.id 
FROM jobs.oban_jobs 
WHERE (jobs.oban_jobs.state = 'available' OR jobs.oban_jobs.state IN ('scheduled', 'retryable') AND jobs.oban_jobs.scheduled_at <= coalesce($1::TIMESTAMP WITHOUT TIME ZONE, timezone('UTC', clock_timestamp()))) AND jobs.oban_jobs.attempt < jobs.oban_jobs.max_attempts AND ($2::TEXT[] IS NULL OR jobs.oban_jobs.queue = any($2::TEXT[])) AND ($3::BIGINT[] IS NULL OR jobs.oban_jobs.id = any($3::BIGINT[])) ORDER BY jobs.oban_jobs.priority, jobs.oban_jobs.scheduled_at, jobs.oban_jobs.id
