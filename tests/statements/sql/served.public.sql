SELECT oban_producers.queue, false AS stopped 
FROM oban_producers UNION SELECT oban_queues.queue, true AS stopped 
FROM oban_queues 
WHERE oban_queues.started IS false
