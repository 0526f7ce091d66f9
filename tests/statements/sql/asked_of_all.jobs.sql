SELECT jobs.oban_queues.queue, jobs.oban_queues.started, jobs.oban_queues.paused 
FROM jobs.oban_queues 
WHERE jobs.oban_queues.name = $1::VARCHAR AND jobs.oban_queues.node = $2::VARCHAR
