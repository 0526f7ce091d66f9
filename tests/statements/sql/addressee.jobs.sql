SELECT jobs.oban_jobs.worker AS worker, coalesce(left(jobs.oban_jobs.args ->> 'encrypted', $1::INTEGER) = 'gAAAA', false) AS is_sealed 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.id = $2::BIGINT
