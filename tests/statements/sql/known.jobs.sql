SELECT jobs.oban_producers.queue, jobs.oban_producers.node 
FROM jobs.oban_producers 
WHERE jobs.oban_producers.name = $1::VARCHAR UNION SELECT jobs.oban_queues.queue, jobs.oban_queues.node AS node 
FROM jobs.oban_queues 
WHERE jobs.oban_queues.name = $1::VARCHAR
