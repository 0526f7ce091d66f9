SELECT min(jobs.oban_jobs.scheduled_at) AS min_1 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state IN ('scheduled', 'retryable') AND jobs.oban_jobs.scheduled_at > $1::TIMESTAMP WITHOUT TIME ZONE AND jobs.oban_jobs.scheduled_at <= $2::TIMESTAMP WITHOUT TIME ZONE AND jobs.oban_jobs.id != all($3::BIGINT[]) AND jobs.oban_jobs.attempt < jobs.oban_jobs.max_attempts AND ($4::TEXT[] IS NULL OR jobs.oban_jobs.queue = any($4::TEXT[])) AND ($5::BIGINT[] IS NULL OR jobs.oban_jobs.id = any($5::BIGINT[]))
