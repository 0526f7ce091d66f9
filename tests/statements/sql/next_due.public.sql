SELECT min(oban_jobs.scheduled_at) AS min_1 
FROM oban_jobs 
WHERE oban_jobs.state IN ('scheduled', 'retryable') AND oban_jobs.scheduled_at > $1::TIMESTAMP WITHOUT TIME ZONE AND oban_jobs.scheduled_at <= $2::TIMESTAMP WITHOUT TIME ZONE AND oban_jobs.id != all($3::BIGINT[]) AND oban_jobs.attempt < oban_jobs.max_attempts AND ($4::TEXT[] IS NULL OR oban_jobs.queue = any($4::TEXT[])) AND ($5::BIGINT[] IS NULL OR oban_jobs.id = any($5::BIGINT[]))
