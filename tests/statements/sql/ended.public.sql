SELECT of_completed.queue, 'completed' AS state, count(*) AS jobs, CAST(EXTRACT(epoch FROM timezone('UTC', now()) - min(of_completed.at)) AS FLOAT) AS within 
FROM (SELECT oban_jobs.queue AS queue, oban_jobs.completed_at AS at 
FROM oban_jobs 
WHERE oban_jobs.state = 'completed' AND oban_jobs.completed_at > timezone('UTC', now()) - $1::FLOAT * interval '1 second' ORDER BY oban_jobs.completed_at DESC 
 LIMIT $2::INTEGER) AS of_completed GROUP BY of_completed.queue UNION ALL SELECT of_cancelled.queue, 'cancelled' AS state, count(*) AS jobs, CAST(EXTRACT(epoch FROM timezone('UTC', now()) - min(of_cancelled.at)) AS FLOAT) AS within 
FROM (SELECT oban_jobs.queue AS queue, oban_jobs.cancelled_at AS at 
FROM oban_jobs 
WHERE oban_jobs.state = 'cancelled' AND oban_jobs.cancelled_at > timezone('UTC', now()) - $1::FLOAT * interval '1 second' ORDER BY oban_jobs.cancelled_at DESC 
 LIMIT $2::INTEGER) AS of_cancelled GROUP BY of_cancelled.queue UNION ALL SELECT of_discarded.queue, 'discarded' AS state, count(*) AS jobs, CAST(EXTRACT(epoch FROM timezone('UTC', now()) - min(of_discarded.at)) AS FLOAT) AS within 
FROM (SELECT oban_jobs.queue AS queue, oban_jobs.discarded_at AS at 
FROM oban_jobs 
WHERE oban_jobs.state = 'discarded' AND oban_jobs.discarded_at > timezone('UTC', now()) - $1::FLOAT * interval '1 second' ORDER BY oban_jobs.discarded_at DESC 
 LIMIT $2::INTEGER) AS of_discarded GROUP BY of_discarded.queue
