SELECT count(*) AS jobs, CAST(EXTRACT(epoch FROM max(nobody.age)) AS FLOAT) AS oldest 
FROM (SELECT CASE WHEN isfinite(coalesce(oban_jobs.attempted_at, oban_jobs.inserted_at)) THEN timezone('UTC', now()) - coalesce(oban_jobs.attempted_at, oban_jobs.inserted_at) END AS age 
FROM oban_jobs 
WHERE oban_jobs.state = 'executing' AND coalesce(oban_jobs.attempted_at, oban_jobs.inserted_at) <= timezone('UTC', now()) - $1::FLOAT * interval '1 second' AND (coalesce(lower(oban_jobs.attempted_by[2]), '') NOT IN (SELECT CAST(oban_producers.uuid AS TEXT) AS uuid 
FROM oban_producers)) 
 LIMIT $2::INTEGER) AS nobody
