SELECT count(*) AS "all", count(*) FILTER (WHERE executing.partition_key = $1::VARCHAR) AS own 
FROM (SELECT oban_jobs.partition_key AS partition_key 
FROM oban_jobs 
WHERE oban_jobs.state = 'executing' AND oban_jobs.queue = $2::VARCHAR 
 LIMIT $3::INTEGER) AS executing
