SELECT newest.id, CAST(newest.state AS TEXT) AS state, CAST(EXTRACT(epoch FROM timezone('UTC', now()) - coalesce(newest.completed_at, newest.discarded_at)) AS DOUBLE PRECISION) AS age, CAST(EXTRACT(epoch FROM coalesce(newest.completed_at, newest.discarded_at) - newest.attempted_at) AS DOUBLE PRECISION) AS ran 
FROM (SELECT jobs.oban_jobs.id AS id, jobs.oban_jobs.worker AS worker, jobs.oban_jobs.state AS state, jobs.oban_jobs.attempted_at AS attempted_at, jobs.oban_jobs.completed_at AS completed_at, jobs.oban_jobs.discarded_at AS discarded_at 
FROM jobs.oban_jobs ORDER BY jobs.oban_jobs.id DESC 
 LIMIT $1::INTEGER) AS newest 
WHERE CAST(newest.worker AS TEXT) = $2::VARCHAR AND newest.state IN ('completed', 'discarded') 
 LIMIT $3::INTEGER
