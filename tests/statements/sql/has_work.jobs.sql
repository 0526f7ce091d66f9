SELECT (EXISTS (SELECT * 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'available' AND jobs.oban_jobs.queue = any($1::TEXT[]))) OR (EXISTS (SELECT * 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'executing' AND jobs.oban_jobs.attempted_by[2] = any($2::TEXT[]))) OR (EXISTS (SELECT * 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state IN ('scheduled', 'retryable') AND jobs.oban_jobs.scheduled_at <= timezone('UTC', now()) AND jobs.oban_jobs.queue = any($1::TEXT[]))) OR (EXISTS (SELECT jobs.oban_news.id 
FROM jobs.oban_news 
 LIMIT $3::INTEGER)) AS anon_1
