SELECT jobs.oban_batches.id, jobs.oban_batches.name, jobs.oban_batches.finished_at IS NOT NULL AS finished, (SELECT count(*) AS count_1 
FROM (SELECT jobs.oban_jobs.id AS id 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.batch_id = jobs.oban_batches.id AND jobs.oban_jobs.state <= 'retryable' 
 LIMIT $1::INTEGER) AS anon_1) AS open 
FROM jobs.oban_batches 
WHERE jobs.oban_batches.id = $2::BIGINT
