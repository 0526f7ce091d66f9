SELECT oban_jobs.id 
FROM oban_jobs 
WHERE oban_jobs.state = 'executing' AND oban_jobs.queue = $1::VARCHAR AND (oban_jobs.partition_key IS NULL OR oban_jobs.partition_key < (CAST($2::INTEGER AS TEXT) || '|') OR oban_jobs.partition_key >= (CAST($2::INTEGER AS TEXT) || '}')) 
 LIMIT $3::INTEGER
