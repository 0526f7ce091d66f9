SELECT anon_1.id, anon_1.state, (SELECT count(*) AS count_1 
FROM (SELECT oban_jobs.id AS id 
FROM oban_jobs 
WHERE oban_jobs.chain_key = $1::VARCHAR AND oban_jobs.state = 'suspended' AND oban_jobs.id < $2::BIGINT 
 LIMIT $3::INTEGER) AS anon_2) AS waiting 
FROM ((SELECT first.id AS id, CAST(first.state AS TEXT) AS state, 0 AS rank 
FROM oban_jobs AS first 
WHERE first.chain_key = $1::VARCHAR AND first.state IN ('available', 'scheduled', 'retryable', 'executing') 
 LIMIT $4::INTEGER) UNION ALL (SELECT first.id AS id, CAST(first.state AS TEXT) AS state, 1 AS rank 
FROM oban_jobs AS first 
WHERE first.chain_key = $1::VARCHAR AND first.state = 'discarded' AND left(first.chain_key, 2) = 'h|' 
 LIMIT $5::INTEGER) UNION ALL (SELECT first.id AS id, CAST(first.state AS TEXT) AS state, 2 AS rank 
FROM oban_jobs AS first 
WHERE first.chain_key = $1::VARCHAR AND first.state = 'suspended' AND first.id < $2::BIGINT ORDER BY first.chain_key, first.id 
 LIMIT $6::INTEGER)) AS anon_1 ORDER BY anon_1.rank 
 LIMIT $7::INTEGER
