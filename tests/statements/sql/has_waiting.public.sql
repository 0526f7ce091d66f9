SELECT EXISTS (SELECT * 
FROM oban_jobs 
WHERE oban_jobs.state = 'available' AND oban_jobs.queue = $1::VARCHAR) AS anon_1
