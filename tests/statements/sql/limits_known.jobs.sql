SELECT true AS is_asked, CAST(jobs.oban_queues.limits AS TEXT) AS known 
FROM jobs.oban_queues 
WHERE jobs.oban_queues.name = $1::VARCHAR AND jobs.oban_queues.queue = $2::VARCHAR AND jobs.oban_queues.node = '' AND jobs.oban_queues.limits IS NOT NULL UNION ALL SELECT false, CAST(jobs.oban_producers.meta AS TEXT) AS meta 
FROM jobs.oban_producers 
WHERE jobs.oban_producers.queue = $2::VARCHAR AND jobs.oban_producers.updated_at > timezone('UTC', now()) - interval '1 minute'
