WITH held AS 
(SELECT oban_jobs.id AS id 
FROM oban_jobs 
WHERE oban_jobs.chain_key IS NOT NULL AND oban_jobs.state = 'discarded' AND left(oban_jobs.chain_key, 2) = 'h|' AND (EXISTS (SELECT * 
FROM oban_jobs AS other 
WHERE other.chain_key = oban_jobs.chain_key AND other.state = 'suspended')) 
 LIMIT $1::INTEGER)
 SELECT (SELECT count(*) AS count_1 
FROM held) AS held, (SELECT count(*) AS count_2 
FROM (SELECT DISTINCT waiting.chain_key AS chain_key 
FROM (SELECT oban_jobs.chain_key AS chain_key 
FROM oban_jobs 
WHERE oban_jobs.chain_key IS NOT NULL AND oban_jobs.state = 'suspended' 
 LIMIT $1::INTEGER) AS waiting 
WHERE NOT (EXISTS (SELECT * 
FROM oban_jobs AS other 
WHERE other.chain_key = waiting.chain_key AND other.state IN ('available', 'scheduled', 'retryable', 'executing'))) AND NOT (EXISTS (SELECT * 
FROM oban_jobs AS other 
WHERE other.chain_key = waiting.chain_key AND other.state = 'discarded' AND left(other.chain_key, 2) = 'h|')) AND NOT (EXISTS (SELECT * 
FROM oban_news 
WHERE oban_news.chain_key = waiting.chain_key))) AS idle) AS idle, (SELECT count(*) AS count_3 
FROM (SELECT oban_batches.id AS id 
FROM oban_batches 
WHERE oban_batches.id > (SELECT max(oban_batches.id) - 10000 AS anon_1 
FROM oban_batches) AND oban_batches.finished_at IS NULL AND NOT (EXISTS (SELECT * 
FROM oban_jobs AS other 
WHERE other.batch_id = oban_batches.id AND other.batch_id IS NOT NULL AND other.state <= 'retryable')) AND NOT (EXISTS (SELECT * 
FROM oban_news 
WHERE oban_news.batch_id = oban_batches.id)) 
 LIMIT $1::INTEGER) AS ended) AS batches, CAST((SELECT min(held.id) AS min_1 
FROM held) AS TEXT) AS one
