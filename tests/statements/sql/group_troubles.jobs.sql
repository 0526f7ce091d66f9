WITH held AS 
(SELECT jobs.oban_jobs.id AS id 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.chain_key IS NOT NULL AND jobs.oban_jobs.state = 'discarded' AND left(jobs.oban_jobs.chain_key, 2) = 'h|' AND (EXISTS (SELECT * 
FROM jobs.oban_jobs AS other 
WHERE other.chain_key = jobs.oban_jobs.chain_key AND other.state = 'suspended')) 
 LIMIT $1::INTEGER)
 SELECT (SELECT count(*) AS count_1 
FROM held) AS held, (SELECT count(*) AS count_2 
FROM (SELECT DISTINCT waiting.chain_key AS chain_key 
FROM (SELECT jobs.oban_jobs.chain_key AS chain_key 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.chain_key IS NOT NULL AND jobs.oban_jobs.state = 'suspended' 
 LIMIT $1::INTEGER) AS waiting 
WHERE NOT (EXISTS (SELECT * 
FROM jobs.oban_jobs AS other 
WHERE other.chain_key = waiting.chain_key AND other.state IN ('available', 'scheduled', 'retryable', 'executing'))) AND NOT (EXISTS (SELECT * 
FROM jobs.oban_jobs AS other 
WHERE other.chain_key = waiting.chain_key AND other.state = 'discarded' AND left(other.chain_key, 2) = 'h|')) AND NOT (EXISTS (SELECT * 
FROM jobs.oban_news 
WHERE jobs.oban_news.chain_key = waiting.chain_key))) AS idle) AS idle, (SELECT count(*) AS count_3 
FROM (SELECT jobs.oban_batches.id AS id 
FROM jobs.oban_batches 
WHERE jobs.oban_batches.id > (SELECT max(jobs.oban_batches.id) - 10000 AS anon_1 
FROM jobs.oban_batches) AND jobs.oban_batches.finished_at IS NULL AND NOT (EXISTS (SELECT * 
FROM jobs.oban_jobs AS other 
WHERE other.batch_id = jobs.oban_batches.id AND other.batch_id IS NOT NULL AND other.state <= 'retryable')) AND NOT (EXISTS (SELECT * 
FROM jobs.oban_news 
WHERE jobs.oban_news.batch_id = jobs.oban_batches.id)) 
 LIMIT $1::INTEGER) AS ended) AS batches, CAST((SELECT min(held.id) AS min_1 
FROM held) AS TEXT) AS one
