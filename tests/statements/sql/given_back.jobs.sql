SELECT waits.worker, count(*) AS jobs 
FROM (SELECT anon_1.worker AS worker, anon_1.meta AS meta 
FROM (SELECT jobs.oban_jobs.worker AS worker, jobs.oban_jobs.meta AS meta 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'scheduled' AND jobs.oban_jobs.scheduled_at <= timezone('UTC', now()) + $1::FLOAT * interval '1 second' ORDER BY jobs.oban_jobs.scheduled_at 
 LIMIT $2::INTEGER) AS anon_1 UNION ALL SELECT anon_2.worker AS worker, anon_2.meta AS meta 
FROM (SELECT jobs.oban_jobs.worker AS worker, jobs.oban_jobs.meta AS meta 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'available' ORDER BY jobs.oban_jobs.queue, jobs.oban_jobs.priority, jobs.oban_jobs.scheduled_at, jobs.oban_jobs.id 
 LIMIT $2::INTEGER) AS anon_2) AS waits 
WHERE jsonb_typeof(waits.meta) = 'object' AND (waits.meta ? $3::VARCHAR) GROUP BY waits.worker
