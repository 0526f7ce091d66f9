SELECT jobs.oban_queues.node, jobs.oban_queues.started, jobs.oban_queues.paused, jobs.oban_queues.updated_at 
FROM jobs.oban_queues 
WHERE jobs.oban_queues.queue = $1::VARCHAR
