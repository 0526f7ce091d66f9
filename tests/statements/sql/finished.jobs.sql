SELECT jobs.oban_jobs.queue, count(*) AS jobs 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'completed' AND jobs.oban_jobs.completed_at > timezone('UTC', now()) - $1::FLOAT * interval '1 second' OR jobs.oban_jobs.state = 'cancelled' AND jobs.oban_jobs.cancelled_at > timezone('UTC', now()) - $1::FLOAT * interval '1 second' OR jobs.oban_jobs.state = 'discarded' AND jobs.oban_jobs.discarded_at > timezone('UTC', now()) - $1::FLOAT * interval '1 second' GROUP BY jobs.oban_jobs.queue
