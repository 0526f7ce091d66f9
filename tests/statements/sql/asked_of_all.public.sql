SELECT oban_queues.queue, oban_queues.started, oban_queues.paused 
FROM oban_queues 
WHERE oban_queues.name = $1::VARCHAR AND oban_queues.node = $2::VARCHAR
