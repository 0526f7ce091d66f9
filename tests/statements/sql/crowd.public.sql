SELECT 'ahead' AS what, count(*) AS jobs, CAST(NULL AS FLOAT) AS oldest 
FROM (SELECT oban_jobs.id AS id 
FROM oban_jobs 
WHERE oban_jobs.state = 'available' AND oban_jobs.queue = $1::VARCHAR AND (oban_jobs.priority, oban_jobs.scheduled_at, oban_jobs.id) < ($2::SMALLINT, $3::TIMESTAMP WITHOUT TIME ZONE, $4::BIGINT) AND oban_jobs.id != $4::BIGINT 
 LIMIT $5::INTEGER) AS ahead UNION ALL SELECT 'executing', count(*) AS jobs, CAST(EXTRACT(epoch FROM max(running.age)) AS FLOAT) AS anon_1 
FROM (SELECT CASE WHEN isfinite(oban_jobs.attempted_at) THEN timezone('UTC', now()) - oban_jobs.attempted_at END AS age 
FROM oban_jobs 
WHERE oban_jobs.state = 'executing' AND oban_jobs.queue = $1::VARCHAR 
 LIMIT $5::INTEGER) AS running
