WITH RECURSIVE visited(queue, priority, scheduled_at, number) AS 
(SELECT first.queue AS queue, first.priority AS priority, first.scheduled_at AS scheduled_at, 1 AS number 
FROM (SELECT jobs.oban_jobs.queue AS queue, jobs.oban_jobs.priority AS priority, jobs.oban_jobs.scheduled_at AS scheduled_at 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'available' ORDER BY jobs.oban_jobs.queue, jobs.oban_jobs.priority, jobs.oban_jobs.scheduled_at, jobs.oban_jobs.id 
 LIMIT $1::INTEGER) AS first UNION ALL SELECT onward.queue AS queue, onward.priority AS priority, onward.scheduled_at AS scheduled_at, visited.number + $2::INTEGER AS anon_1 
FROM visited JOIN LATERAL (SELECT jobs.oban_jobs.queue AS queue, jobs.oban_jobs.priority AS priority, jobs.oban_jobs.scheduled_at AS scheduled_at 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'available' AND (jobs.oban_jobs.queue, jobs.oban_jobs.priority) > (visited.queue, visited.priority) ORDER BY jobs.oban_jobs.queue, jobs.oban_jobs.priority, jobs.oban_jobs.scheduled_at, jobs.oban_jobs.id 
 LIMIT $3::INTEGER) AS onward ON true 
WHERE visited.number < $4::INTEGER)
 SELECT visited.queue, visited.priority, CAST(EXTRACT(epoch FROM CASE WHEN isfinite(visited.scheduled_at) THEN timezone('UTC', now()) - visited.scheduled_at END) AS FLOAT) AS seconds 
FROM visited
