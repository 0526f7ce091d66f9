SELECT waits.worker, count(*) AS jobs 
FROM (SELECT anon_1.worker AS worker, anon_1.meta AS meta 
FROM (SELECT oban_jobs.worker AS worker, oban_jobs.meta AS meta 
FROM oban_jobs 
WHERE oban_jobs.state = 'scheduled' AND oban_jobs.scheduled_at <= timezone('UTC', now()) + $1::FLOAT * interval '1 second' ORDER BY oban_jobs.scheduled_at 
 LIMIT $2::INTEGER) AS anon_1 UNION ALL SELECT anon_2.worker AS worker, anon_2.meta AS meta 
FROM (SELECT oban_jobs.worker AS worker, oban_jobs.meta AS meta 
FROM oban_jobs 
WHERE oban_jobs.state = 'available' ORDER BY oban_jobs.queue, oban_jobs.priority, oban_jobs.scheduled_at, oban_jobs.id 
 LIMIT $2::INTEGER) AS anon_2) AS waits 
WHERE jsonb_typeof(waits.meta) = 'object' AND (waits.meta ? $3::VARCHAR) GROUP BY waits.worker
