SELECT count(*) AS count_1 
FROM (SELECT jobs.oban_jobs.id AS id 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'available' AND jobs.oban_jobs.queue = $1::VARCHAR AND jobs.oban_jobs.partition_key = $2::VARCHAR AND (jobs.oban_jobs.priority, jobs.oban_jobs.scheduled_at, jobs.oban_jobs.id) < ($3::SMALLINT, $4::TIMESTAMP WITHOUT TIME ZONE, $5::BIGINT) AND jobs.oban_jobs.id != $5::BIGINT 
 LIMIT $6::INTEGER) AS found
