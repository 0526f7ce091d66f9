SELECT 'discarded' AS state, dead.id, CAST(dead.worker AS TEXT) AS worker, dead.queue, CAST(EXTRACT(epoch FROM timezone('UTC', now()) - dead.at) AS DOUBLE PRECISION) AS age, dead.tail 
FROM (SELECT jobs.oban_jobs.id AS id, jobs.oban_jobs.worker AS worker, jobs.oban_jobs.queue AS queue, jobs.oban_jobs.discarded_at AS at, right((jobs.oban_jobs.errors -> $1::INTEGER) ->> $2::VARCHAR, $3::INTEGER) AS tail 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'discarded' ORDER BY jobs.oban_jobs.discarded_at DESC 
 LIMIT $4::INTEGER) AS dead UNION ALL SELECT 'retryable' AS state, again.id, CAST(again.worker AS TEXT) AS worker, again.queue, CAST(EXTRACT(epoch FROM timezone('UTC', now()) - again.at) AS DOUBLE PRECISION) AS age, again.tail 
FROM (SELECT staged.id AS id, staged.worker AS worker, staged.queue AS queue, staged.at AS at, right((staged.errors -> $5::INTEGER) ->> $6::VARCHAR, $7::INTEGER) AS tail 
FROM (SELECT jobs.oban_jobs.id AS id, jobs.oban_jobs.worker AS worker, jobs.oban_jobs.queue AS queue, jobs.oban_jobs.attempted_at AS at, jobs.oban_jobs.errors AS errors, jobs.oban_jobs.state AS state 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state IN ('scheduled', 'retryable') ORDER BY jobs.oban_jobs.scheduled_at, jobs.oban_jobs.id 
 LIMIT $8::INTEGER) AS staged 
WHERE staged.state = 'retryable' 
 LIMIT $4::INTEGER) AS again
