WITH moved AS 
(UPDATE oban_jobs SET state='available' WHERE oban_jobs.id = any(array((SELECT oban_jobs.id 
FROM oban_jobs 
WHERE oban_jobs.state IN ('scheduled', 'retryable') AND oban_jobs.scheduled_at <= timezone('UTC', now()) AND oban_jobs.queue = any($1::TEXT[]) AND oban_jobs.id != all(CAST($2::TEXT[] AS BIGINT[])) ORDER BY oban_jobs.scheduled_at, oban_jobs.id 
 LIMIT $3::INTEGER FOR UPDATE SKIP LOCKED))) AND CAST(oban_jobs.state AS TEXT) IN ('scheduled', 'retryable') RETURNING oban_jobs.queue)
 SELECT moved.queue, count(*) AS count_1, CAST(NULL AS FLOAT) AS anon_1 
FROM moved GROUP BY moved.queue UNION ALL SELECT queues.name, 0, CAST(NULL AS FLOAT) AS anon_1 
FROM unnest($1::TEXT[]) AS queues(name) 
WHERE (EXISTS (SELECT * 
FROM oban_jobs 
WHERE oban_jobs.state = 'available' AND oban_jobs.queue = queues.name)) AND NOT (EXISTS (SELECT * 
FROM oban_rates 
WHERE oban_rates.queue = queues.name AND oban_rates.key = '' AND oban_rates.until > EXTRACT(epoch FROM clock_timestamp()))) UNION ALL SELECT '', 0, CAST(NULL AS FLOAT) AS anon_1 
WHERE EXISTS (SELECT oban_news.id 
FROM oban_news 
 LIMIT $4::INTEGER) UNION ALL SELECT CAST(NULL AS TEXT) AS anon_1, 0, EXTRACT(epoch FROM (SELECT min(oban_jobs.scheduled_at) AS min_1 
FROM oban_jobs 
WHERE oban_jobs.state IN ('scheduled', 'retryable') AND oban_jobs.scheduled_at > timezone('UTC', now()) AND isfinite(oban_jobs.scheduled_at)) - timezone('UTC', now())) AS anon_2
