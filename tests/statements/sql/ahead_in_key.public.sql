SELECT count(*) AS count_1 
FROM (SELECT oban_jobs.id AS id 
FROM oban_jobs 
WHERE oban_jobs.state = 'available' AND oban_jobs.queue = $1::VARCHAR AND oban_jobs.partition_key = $2::VARCHAR AND (oban_jobs.priority, oban_jobs.scheduled_at, oban_jobs.id) < ($3::SMALLINT, $4::TIMESTAMP WITHOUT TIME ZONE, $5::BIGINT) AND oban_jobs.id != $5::BIGINT 
 LIMIT $6::INTEGER) AS found
