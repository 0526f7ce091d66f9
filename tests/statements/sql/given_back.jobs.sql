SELECT soon.worker, count(*) AS jobs 
FROM (SELECT jobs.oban_jobs.worker AS worker, jobs.oban_jobs.meta AS meta 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'scheduled' AND jobs.oban_jobs.scheduled_at <= timezone('UTC', now()) + $1::FLOAT * interval '1 second' ORDER BY jobs.oban_jobs.scheduled_at 
 LIMIT $2::INTEGER) AS soon 
WHERE jsonb_typeof(soon.meta) = 'object' AND (soon.meta ? $3::VARCHAR) GROUP BY soon.worker
