WITH RECURSIVE found(queue, priority, oldest) AS 
(SELECT first.queue AS queue, first.priority AS priority, first.oldest AS oldest 
FROM (SELECT oban_jobs.queue AS queue, oban_jobs.priority AS priority, oban_jobs.scheduled_at AS oldest 
FROM oban_jobs 
WHERE oban_jobs.state = 'available' ORDER BY oban_jobs.queue, oban_jobs.priority, oban_jobs.scheduled_at 
 LIMIT $1::INTEGER) AS first UNION ALL SELECT following.queue AS queue, following.priority AS priority, following.oldest AS oldest 
FROM found JOIN LATERAL (SELECT oban_jobs.queue AS queue, oban_jobs.priority AS priority, oban_jobs.scheduled_at AS oldest 
FROM oban_jobs 
WHERE oban_jobs.state = 'available' AND (oban_jobs.queue, oban_jobs.priority) > (found.queue, found.priority) ORDER BY oban_jobs.queue, oban_jobs.priority, oban_jobs.scheduled_at 
 LIMIT $1::INTEGER) AS following ON true)
 SELECT DISTINCT found.priority 
FROM found 
WHERE found.priority > $2::SMALLINT AND found.oldest <= timezone('UTC', now()) - $3::FLOAT * interval '1 second' ORDER BY found.priority
