SELECT jobs.oban_producers.queue, false AS stopped 
FROM jobs.oban_producers UNION SELECT jobs.oban_queues.queue, true AS stopped 
FROM jobs.oban_queues 
WHERE jobs.oban_queues.started IS false
