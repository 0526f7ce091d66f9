SELECT count(*) AS jobs, CAST(EXTRACT(epoch FROM max(nobody.age)) AS FLOAT) AS oldest 
FROM (SELECT CASE WHEN isfinite(coalesce(jobs.oban_jobs.attempted_at, jobs.oban_jobs.inserted_at)) THEN timezone('UTC', now()) - coalesce(jobs.oban_jobs.attempted_at, jobs.oban_jobs.inserted_at) END AS age 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'executing' AND coalesce(jobs.oban_jobs.attempted_at, jobs.oban_jobs.inserted_at) <= timezone('UTC', now()) - $1::FLOAT * interval '1 second' AND (coalesce(lower(jobs.oban_jobs.attempted_by[2]), '') NOT IN (SELECT CAST(jobs.oban_producers.uuid AS TEXT) AS uuid 
FROM jobs.oban_producers)) 
 LIMIT $2::INTEGER) AS nobody
