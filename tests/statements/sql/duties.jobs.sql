SELECT CAST(jobs.oban_producers.uuid AS TEXT) AS key, jobs.oban_producers.started_at, jobs.oban_producers.updated_at, coalesce(running.jobs, $1::INTEGER) AS running 
FROM jobs.oban_producers LEFT OUTER JOIN (SELECT coalesce(lower(jobs.oban_jobs.attempted_by[2]), '') AS key, count(*) AS jobs 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'executing' GROUP BY coalesce(lower(jobs.oban_jobs.attempted_by[2]), '')) AS running ON running.key = CAST(jobs.oban_producers.uuid AS TEXT)
