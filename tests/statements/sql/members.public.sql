SELECT CAST(oban_producers.uuid AS TEXT) AS key, oban_producers.name, oban_producers.node, oban_producers.queue, CAST(oban_producers.meta AS TEXT) AS meta 
FROM oban_producers 
 LIMIT $1::INTEGER
