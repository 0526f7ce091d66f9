SELECT true AS is_asked, CAST(oban_queues.limits AS TEXT) AS known 
FROM oban_queues 
WHERE oban_queues.name = $1::VARCHAR AND oban_queues.queue = $2::VARCHAR AND oban_queues.node = '' AND oban_queues.limits IS NOT NULL UNION ALL SELECT false, CAST(oban_producers.meta AS TEXT) AS meta 
FROM oban_producers 
WHERE oban_producers.queue = $2::VARCHAR AND oban_producers.updated_at > timezone('UTC', now()) - interval '1 minute'
