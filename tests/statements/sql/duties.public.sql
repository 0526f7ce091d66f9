SELECT CAST(oban_producers.uuid AS TEXT) AS key, oban_producers.started_at, oban_producers.updated_at, coalesce(running.jobs, $1::INTEGER) AS running 
FROM oban_producers LEFT OUTER JOIN (SELECT coalesce(lower(oban_jobs.attempted_by[2]), '') AS key, count(*) AS jobs 
FROM oban_jobs 
WHERE oban_jobs.state = 'executing' GROUP BY coalesce(lower(oban_jobs.attempted_by[2]), '')) AS running ON running.key = CAST(oban_producers.uuid AS TEXT)
