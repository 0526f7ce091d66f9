SELECT soon.worker, count(*) AS jobs 
FROM (SELECT oban_jobs.worker AS worker, oban_jobs.meta AS meta 
FROM oban_jobs 
WHERE oban_jobs.state = 'scheduled' AND oban_jobs.scheduled_at <= timezone('UTC', now()) + $1::FLOAT * interval '1 second' ORDER BY oban_jobs.scheduled_at 
 LIMIT $2::INTEGER) AS soon 
WHERE jsonb_typeof(soon.meta) = 'object' AND (soon.meta ? $3::VARCHAR) GROUP BY soon.worker
