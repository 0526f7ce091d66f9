SELECT executing.queue, executing.node, count(*) AS jobs 
FROM (SELECT oban_jobs.queue AS queue, oban_jobs.attempted_by[$1::INTEGER] AS node 
FROM oban_jobs 
WHERE oban_jobs.state = 'executing' 
 LIMIT $2::INTEGER) AS executing GROUP BY executing.queue, executing.node
