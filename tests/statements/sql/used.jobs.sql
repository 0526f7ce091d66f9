SELECT count(*) AS "all", count(*) FILTER (WHERE executing.partition_key = $1::VARCHAR) AS own 
FROM (SELECT jobs.oban_jobs.partition_key AS partition_key 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'executing' AND jobs.oban_jobs.queue = $2::VARCHAR 
 LIMIT $3::INTEGER) AS executing
