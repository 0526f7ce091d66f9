SELECT (EXISTS (SELECT * 
FROM oban_jobs 
WHERE oban_jobs.state = 'available' AND oban_jobs.queue = any($1::TEXT[]))) OR (EXISTS (SELECT * 
FROM oban_jobs 
WHERE oban_jobs.state = 'executing' AND oban_jobs.attempted_by[2] = any($2::TEXT[]))) OR (EXISTS (SELECT * 
FROM oban_jobs 
WHERE oban_jobs.state IN ('scheduled', 'retryable') AND oban_jobs.scheduled_at <= timezone('UTC', now()) AND oban_jobs.queue = any($1::TEXT[]))) OR (EXISTS (SELECT oban_news.id 
FROM oban_news 
 LIMIT $3::INTEGER)) AS anon_1
