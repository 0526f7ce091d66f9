SELECT oban_partitions.by, oban_partitions.epoch 
FROM oban_partitions 
WHERE oban_partitions.queue = $1::VARCHAR
