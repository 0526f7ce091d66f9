SELECT queues.name 
FROM unnest($1::TEXT[]) AS queues(name) 
WHERE (EXISTS (SELECT * 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'available' AND jobs.oban_jobs.queue = queues.name)) AND NOT (EXISTS (SELECT * 
FROM jobs.oban_rates 
WHERE jobs.oban_rates.queue = queues.name AND jobs.oban_rates.key = '' AND jobs.oban_rates.until > EXTRACT(epoch FROM clock_timestamp()))) UNION ALL SELECT '' 
WHERE EXISTS (SELECT jobs.oban_news.id 
FROM jobs.oban_news 
 LIMIT $2::INTEGER) UNION ALL SELECT CAST(NULL AS TEXT) AS anon_1 
FROM (SELECT jobs.oban_jobs.id AS id 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state IN ('scheduled', 'retryable') AND jobs.oban_jobs.scheduled_at <= timezone('UTC', now()) - $3::FLOAT * interval '1 second' AND jobs.oban_jobs.queue = any($1::TEXT[]) ORDER BY jobs.oban_jobs.scheduled_at, jobs.oban_jobs.id 
 LIMIT $4::INTEGER) AS overdue
