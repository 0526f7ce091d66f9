SELECT jobs.oban_partitions.by, jobs.oban_partitions.epoch 
FROM jobs.oban_partitions 
WHERE jobs.oban_partitions.queue = $1::VARCHAR
