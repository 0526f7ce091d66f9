SELECT oban_partitions.queue, oban_partitions.epoch 
FROM oban_partitions 
WHERE oban_partitions.by != '{}'
