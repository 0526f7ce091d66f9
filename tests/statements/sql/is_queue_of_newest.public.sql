SELECT EXISTS (SELECT newest.queue 
FROM (SELECT oban_jobs.queue AS queue 
FROM oban_jobs ORDER BY oban_jobs.id DESC 
 LIMIT $1::INTEGER) AS newest 
WHERE newest.queue = $2::VARCHAR) AS anon_1
