SELECT executing.queue, executing.node, count(*) AS jobs 
FROM (SELECT jobs.oban_jobs.queue AS queue, jobs.oban_jobs.attempted_by[$1::INTEGER] AS node 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'executing' 
 LIMIT $2::INTEGER) AS executing GROUP BY executing.queue, executing.node
