SELECT CAST(jobs.oban_producers.uuid AS TEXT) AS key, jobs.oban_producers.name, jobs.oban_producers.node, jobs.oban_producers.queue, CAST(jobs.oban_producers.meta AS TEXT) AS meta 
FROM jobs.oban_producers 
 LIMIT $1::INTEGER
