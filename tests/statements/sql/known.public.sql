SELECT oban_producers.queue, oban_producers.node 
FROM oban_producers 
WHERE oban_producers.name = $1::VARCHAR UNION SELECT oban_queues.queue, oban_queues.node AS node 
FROM oban_queues 
WHERE oban_queues.name = $1::VARCHAR
