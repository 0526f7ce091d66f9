WITH chosen AS 
(SELECT oban_rates.queue AS queue, oban_rates.key AS key 
FROM oban_rates 
WHERE oban_rates.idle_at < CAST(EXTRACT(epoch FROM clock_timestamp()) AS DOUBLE PRECISION) AND oban_rates.until < CAST(EXTRACT(epoch FROM clock_timestamp()) AS DOUBLE PRECISION) 
 LIMIT $1::INTEGER FOR UPDATE SKIP LOCKED)
 DELETE FROM oban_rates WHERE (oban_rates.queue, oban_rates.key) IN (SELECT chosen.queue, chosen.key 
FROM chosen) AND oban_rates.idle_at < CAST(EXTRACT(epoch FROM clock_timestamp()) AS DOUBLE PRECISION) AND oban_rates.until < CAST(EXTRACT(epoch FROM clock_timestamp()) AS DOUBLE PRECISION) AND (EXISTS (SELECT * 
FROM oban_leaders 
WHERE oban_leaders.name = $2::VARCHAR AND oban_leaders.node = $3::VARCHAR AND oban_leaders.expires_at > timezone('UTC', now()))) RETURNING oban_rates.key
