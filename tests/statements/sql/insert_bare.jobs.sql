INSERT INTO jobs.oban_jobs (worker, queue, args, priority, max_attempts, partition_key) VALUES ($1::VARCHAR, $2::VARCHAR, CAST($3::VARCHAR AS JSONB), $4::SMALLINT, $5::SMALLINT, (SELECT CASE WHEN (jobs.oban_partitions.by != '{}') THEN jobs.oban_partition_key(jobs.oban_partitions.epoch, jobs.oban_partitions.by, $1::VARCHAR, CAST($3::VARCHAR AS JSONB), CAST('{}' AS JSONB)) END AS anon_1 
FROM jobs.oban_partitions 
WHERE jobs.oban_partitions.queue = $2::VARCHAR)) RETURNING jobs.oban_jobs.id, false AS waits
