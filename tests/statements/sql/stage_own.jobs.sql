WITH moved AS 
(UPDATE jobs.oban_jobs SET state='available' WHERE jobs.oban_jobs.id = any(array((SELECT jobs.oban_jobs.id 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state IN ('scheduled', 'retryable') AND jobs.oban_jobs.scheduled_at <= timezone('UTC', now()) AND jobs.oban_jobs.queue = any($1::TEXT[]) AND jobs.oban_jobs.id != all(CAST($2::TEXT[] AS BIGINT[])) ORDER BY jobs.oban_jobs.scheduled_at, jobs.oban_jobs.id 
 LIMIT $3::INTEGER FOR UPDATE SKIP LOCKED))) AND CAST(jobs.oban_jobs.state AS TEXT) IN ('scheduled', 'retryable') RETURNING jobs.oban_jobs.queue)
 SELECT moved.queue, count(*) AS count_1, CAST(NULL AS FLOAT) AS anon_1 
FROM moved GROUP BY moved.queue UNION ALL SELECT queues.name, 0, CAST(NULL AS FLOAT) AS anon_1 
FROM unnest($1::TEXT[]) AS queues(name) 
WHERE (EXISTS (SELECT * 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'available' AND jobs.oban_jobs.queue = queues.name)) AND NOT (EXISTS (SELECT * 
FROM jobs.oban_rates 
WHERE jobs.oban_rates.queue = queues.name AND jobs.oban_rates.key = '' AND jobs.oban_rates.until > EXTRACT(epoch FROM clock_timestamp()))) UNION ALL SELECT '', 0, CAST(NULL AS FLOAT) AS anon_1 
WHERE EXISTS (SELECT jobs.oban_news.id 
FROM jobs.oban_news 
 LIMIT $4::INTEGER) UNION ALL SELECT CAST(NULL AS TEXT) AS anon_1, 0, EXTRACT(epoch FROM (SELECT min(jobs.oban_jobs.scheduled_at) AS min_1 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state IN ('scheduled', 'retryable') AND jobs.oban_jobs.scheduled_at > timezone('UTC', now()) AND isfinite(jobs.oban_jobs.scheduled_at)) - timezone('UTC', now())) AS anon_2
