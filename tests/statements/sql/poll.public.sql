SELECT queues.name 
FROM unnest($1::TEXT[]) AS queues(name) 
WHERE (EXISTS (SELECT * 
FROM oban_jobs 
WHERE oban_jobs.state = 'available' AND oban_jobs.queue = queues.name)) AND NOT (EXISTS (SELECT * 
FROM oban_rates 
WHERE oban_rates.queue = queues.name AND oban_rates.key = '' AND oban_rates.until > EXTRACT(epoch FROM clock_timestamp()))) UNION ALL SELECT '' 
WHERE EXISTS (SELECT oban_news.id 
FROM oban_news 
 LIMIT $2::INTEGER) UNION ALL SELECT CAST(NULL AS TEXT) AS anon_1 
FROM (SELECT oban_jobs.id AS id 
FROM oban_jobs 
WHERE oban_jobs.state IN ('scheduled', 'retryable') AND oban_jobs.scheduled_at <= timezone('UTC', now()) - $3::FLOAT * interval '1 second' AND oban_jobs.queue = any($1::TEXT[]) ORDER BY oban_jobs.scheduled_at, oban_jobs.id 
 LIMIT $4::INTEGER) AS overdue
