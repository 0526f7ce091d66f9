WITH RECURSIVE found(queue, priority) AS 
(SELECT first.queue AS queue, first.priority AS priority 
FROM (SELECT jobs.oban_jobs.queue AS queue, jobs.oban_jobs.priority AS priority 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'available' ORDER BY jobs.oban_jobs.queue, jobs.oban_jobs.priority 
 LIMIT $1::INTEGER) AS first UNION ALL SELECT following.queue AS queue, following.priority AS priority 
FROM found JOIN LATERAL (SELECT jobs.oban_jobs.queue AS queue, jobs.oban_jobs.priority AS priority 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'available' AND (jobs.oban_jobs.queue, jobs.oban_jobs.priority) > (found.queue, found.priority) ORDER BY jobs.oban_jobs.queue, jobs.oban_jobs.priority 
 LIMIT $2::INTEGER) AS following ON true)
 SELECT DISTINCT found.priority 
FROM found 
WHERE found.priority > $3::SMALLINT ORDER BY found.priority
