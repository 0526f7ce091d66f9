WITH RECURSIVE found(queue, priority, oldest) AS 
(SELECT first.queue AS queue, first.priority AS priority, first.oldest AS oldest 
FROM (SELECT jobs.oban_jobs.queue AS queue, jobs.oban_jobs.priority AS priority, jobs.oban_jobs.scheduled_at AS oldest 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'available' ORDER BY jobs.oban_jobs.queue, jobs.oban_jobs.priority, jobs.oban_jobs.scheduled_at 
 LIMIT $1::INTEGER) AS first UNION ALL SELECT following.queue AS queue, following.priority AS priority, following.oldest AS oldest 
FROM found JOIN LATERAL (SELECT jobs.oban_jobs.queue AS queue, jobs.oban_jobs.priority AS priority, jobs.oban_jobs.scheduled_at AS oldest 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'available' AND (jobs.oban_jobs.queue, jobs.oban_jobs.priority) > (found.queue, found.priority) ORDER BY jobs.oban_jobs.queue, jobs.oban_jobs.priority, jobs.oban_jobs.scheduled_at 
 LIMIT $1::INTEGER) AS following ON true)
 SELECT DISTINCT found.priority 
FROM found 
WHERE found.priority > $2::SMALLINT AND found.oldest <= timezone('UTC', now()) - $3::FLOAT * interval '1 second' ORDER BY found.priority
