INSERT INTO oban_jobs (worker, queue, args, priority, max_attempts, partition_key) VALUES ($1::VARCHAR, $2::VARCHAR, CAST($3::VARCHAR AS JSONB), $4::SMALLINT, $5::SMALLINT, (SELECT CASE WHEN (oban_partitions.by != '{}') THEN oban_partition_key(oban_partitions.epoch, oban_partitions.by, $1::VARCHAR, CAST($3::VARCHAR AS JSONB), CAST('{}' AS JSONB)) END AS anon_1 
FROM oban_partitions 
WHERE oban_partitions.queue = $2::VARCHAR)) RETURNING oban_jobs.id, false AS waits
