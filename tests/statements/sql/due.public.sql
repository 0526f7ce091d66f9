SELECT CAST(staged.state AS TEXT) AS state, count(*) AS jobs 
FROM (SELECT oban_jobs.state AS state, oban_jobs.scheduled_at AS scheduled_at 
FROM oban_jobs 
WHERE oban_jobs.state IN ('scheduled', 'retryable') AND oban_jobs.scheduled_at <= timezone('UTC', now()) + $1::FLOAT * interval '1 second' ORDER BY oban_jobs.scheduled_at, oban_jobs.id 
 LIMIT $2::INTEGER) AS staged GROUP BY staged.state
