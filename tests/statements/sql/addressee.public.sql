SELECT oban_jobs.worker AS worker, coalesce(left(oban_jobs.args ->> 'encrypted', $1::INTEGER) = 'gAAAA', false) AS is_sealed 
FROM oban_jobs 
WHERE oban_jobs.id = $2::BIGINT
