SELECT looked.worker, count(*) AS jobs 
FROM (SELECT anon_1.worker AS worker, anon_1.args AS args 
FROM (SELECT jobs.oban_jobs.worker AS worker, jobs.oban_jobs.args AS args 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'available' 
 LIMIT $1::INTEGER) AS anon_1 UNION ALL SELECT anon_2.worker AS worker, anon_2.args AS args 
FROM (SELECT jobs.oban_jobs.worker AS worker, jobs.oban_jobs.args AS args 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state IN ('scheduled', 'retryable') 
 LIMIT $1::INTEGER) AS anon_2 UNION ALL SELECT anon_3.worker AS worker, anon_3.args AS args 
FROM (SELECT jobs.oban_jobs.worker AS worker, jobs.oban_jobs.args AS args 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'executing' 
 LIMIT $1::INTEGER) AS anon_3) AS looked 
WHERE looked.worker = any($2::TEXT[]) AND coalesce(left(looked.args ->> 'encrypted', $3::INTEGER) != 'gAAAA', true) GROUP BY looked.worker
