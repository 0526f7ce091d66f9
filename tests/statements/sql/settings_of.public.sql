SELECT oban_queues.node, oban_queues.started, oban_queues.paused, oban_queues.updated_at 
FROM oban_queues 
WHERE oban_queues.queue = $1::VARCHAR
