SELECT jobs.oban_jobs.id 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'executing' AND jobs.oban_jobs.queue = $1::VARCHAR AND (jobs.oban_jobs.partition_key IS NULL OR jobs.oban_jobs.partition_key < (CAST($2::INTEGER AS TEXT) || '|') OR jobs.oban_jobs.partition_key >= (CAST($2::INTEGER AS TEXT) || '}')) 
 LIMIT $3::INTEGER
