SELECT 'available' AS state, count(*) AS jobs 
FROM (SELECT oban_jobs.id AS id 
FROM oban_jobs 
WHERE oban_jobs.state = 'available' 
 LIMIT $1::INTEGER) AS of_available UNION ALL SELECT 'executing' AS state, count(*) AS jobs 
FROM (SELECT oban_jobs.id AS id 
FROM oban_jobs 
WHERE oban_jobs.state = 'executing' 
 LIMIT $1::INTEGER) AS of_executing UNION ALL SELECT 'suspended' AS state, count(*) AS jobs 
FROM (SELECT oban_jobs.id AS id 
FROM oban_jobs 
WHERE oban_jobs.state = 'suspended' 
 LIMIT $1::INTEGER) AS of_suspended UNION ALL SELECT 'completed' AS state, count(*) AS jobs 
FROM (SELECT oban_jobs.id AS id 
FROM oban_jobs 
WHERE oban_jobs.state = 'completed' 
 LIMIT $1::INTEGER) AS of_completed UNION ALL SELECT 'cancelled' AS state, count(*) AS jobs 
FROM (SELECT oban_jobs.id AS id 
FROM oban_jobs 
WHERE oban_jobs.state = 'cancelled' 
 LIMIT $1::INTEGER) AS of_cancelled UNION ALL SELECT 'discarded' AS state, count(*) AS jobs 
FROM (SELECT oban_jobs.id AS id 
FROM oban_jobs 
WHERE oban_jobs.state = 'discarded' 
 LIMIT $1::INTEGER) AS of_discarded UNION ALL SELECT CAST(staged.state AS TEXT) AS state, count(*) AS count_1 
FROM (SELECT oban_jobs.state AS state 
FROM oban_jobs 
WHERE oban_jobs.state IN ('scheduled', 'retryable') ORDER BY oban_jobs.scheduled_at, oban_jobs.id 
 LIMIT $1::INTEGER) AS staged GROUP BY staged.state
