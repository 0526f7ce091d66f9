WITH RECURSIVE names(queue) AS 
(SELECT min(oban_jobs.queue) AS queue 
FROM oban_jobs 
WHERE oban_jobs.state = 'available' UNION ALL SELECT (SELECT min(oban_jobs.queue) AS min_2 
FROM oban_jobs 
WHERE oban_jobs.state = 'available' AND oban_jobs.queue > names.queue) AS anon_1 
FROM names 
WHERE names.queue IS NOT NULL)
 SELECT names.queue, (SELECT count(*) AS count_1 
FROM (SELECT oban_jobs.id AS id 
FROM oban_jobs 
WHERE oban_jobs.state = 'available' AND oban_jobs.queue = names.queue 
 LIMIT $1::INTEGER) AS waiting) AS jobs, CAST(EXTRACT(epoch FROM timezone('UTC', now()) - timezone('UTC', CAST(nullif((SELECT min((SELECT oban_jobs.scheduled_at 
FROM oban_jobs 
WHERE oban_jobs.state = 'available' AND oban_jobs.queue = names.queue AND oban_jobs.priority = priorities.priority ORDER BY oban_jobs.scheduled_at 
 LIMIT $2::INTEGER)) AS min_1 
FROM generate_series($3::INTEGER, $4::INTEGER) AS priorities(priority)), '-infinity') AS TIMESTAMP WITH TIME ZONE))) AS FLOAT) AS oldest 
FROM names 
WHERE names.queue IS NOT NULL
