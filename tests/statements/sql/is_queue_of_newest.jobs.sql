SELECT EXISTS (SELECT newest.queue 
FROM (SELECT jobs.oban_jobs.queue AS queue 
FROM jobs.oban_jobs ORDER BY jobs.oban_jobs.id DESC 
 LIMIT $1::INTEGER) AS newest 
WHERE newest.queue = $2::VARCHAR) AS anon_1
