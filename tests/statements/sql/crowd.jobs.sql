SELECT 'ahead' AS what, count(*) AS jobs, CAST(NULL AS FLOAT) AS oldest 
FROM (SELECT jobs.oban_jobs.id AS id 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'available' AND jobs.oban_jobs.queue = $1::VARCHAR AND (jobs.oban_jobs.priority, jobs.oban_jobs.scheduled_at, jobs.oban_jobs.id) < ($2::SMALLINT, $3::TIMESTAMP WITHOUT TIME ZONE, $4::BIGINT) AND jobs.oban_jobs.id != $4::BIGINT 
 LIMIT $5::INTEGER) AS ahead UNION ALL SELECT 'executing', count(*) AS jobs, CAST(EXTRACT(epoch FROM max(running.age)) AS FLOAT) AS anon_1 
FROM (SELECT CASE WHEN isfinite(jobs.oban_jobs.attempted_at) THEN timezone('UTC', now()) - jobs.oban_jobs.attempted_at END AS age 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'executing' AND jobs.oban_jobs.queue = $1::VARCHAR 
 LIMIT $5::INTEGER) AS running
