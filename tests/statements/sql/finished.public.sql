SELECT oban_jobs.queue, count(*) AS jobs 
FROM oban_jobs 
WHERE oban_jobs.state = 'completed' AND oban_jobs.completed_at > timezone('UTC', now()) - $1::FLOAT * interval '1 second' OR oban_jobs.state = 'cancelled' AND oban_jobs.cancelled_at > timezone('UTC', now()) - $1::FLOAT * interval '1 second' OR oban_jobs.state = 'discarded' AND oban_jobs.discarded_at > timezone('UTC', now()) - $1::FLOAT * interval '1 second' GROUP BY oban_jobs.queue
