SELECT oban_batches.id, oban_batches.name, oban_batches.finished_at IS NOT NULL AS finished, (SELECT count(*) AS count_1 
FROM (SELECT oban_jobs.id AS id 
FROM oban_jobs 
WHERE oban_jobs.batch_id = oban_batches.id AND oban_jobs.state <= 'retryable' 
 LIMIT $1::INTEGER) AS anon_1) AS open 
FROM oban_batches 
WHERE oban_batches.id = $2::BIGINT
