WITH chosen AS 
(SELECT jobs.oban_rates.queue AS queue, jobs.oban_rates.key AS key 
FROM jobs.oban_rates 
WHERE jobs.oban_rates.idle_at < CAST(EXTRACT(epoch FROM clock_timestamp()) AS DOUBLE PRECISION) AND jobs.oban_rates.until < CAST(EXTRACT(epoch FROM clock_timestamp()) AS DOUBLE PRECISION) 
 LIMIT $1::INTEGER FOR UPDATE SKIP LOCKED)
 DELETE FROM jobs.oban_rates WHERE (jobs.oban_rates.queue, jobs.oban_rates.key) IN (SELECT chosen.queue, chosen.key 
FROM chosen) AND jobs.oban_rates.idle_at < CAST(EXTRACT(epoch FROM clock_timestamp()) AS DOUBLE PRECISION) AND jobs.oban_rates.until < CAST(EXTRACT(epoch FROM clock_timestamp()) AS DOUBLE PRECISION) AND (EXISTS (SELECT * 
FROM jobs.oban_leaders 
WHERE jobs.oban_leaders.name = $2::VARCHAR AND jobs.oban_leaders.node = $3::VARCHAR AND jobs.oban_leaders.expires_at > timezone('UTC', now()))) RETURNING jobs.oban_rates.key
