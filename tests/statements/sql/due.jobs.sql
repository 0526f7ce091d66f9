SELECT CAST(staged.state AS TEXT) AS state, count(*) AS jobs 
FROM (SELECT jobs.oban_jobs.state AS state, jobs.oban_jobs.scheduled_at AS scheduled_at 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state IN ('scheduled', 'retryable') AND jobs.oban_jobs.scheduled_at <= timezone('UTC', now()) + $1::FLOAT * interval '1 second' ORDER BY jobs.oban_jobs.scheduled_at, jobs.oban_jobs.id 
 LIMIT $2::INTEGER) AS staged GROUP BY staged.state
