SELECT jobs.oban_rates.queue, count(*) FILTER (WHERE jobs.oban_rates.key != '') AS keys, bool_or(jobs.oban_rates.key = '') AS whole, max(jobs.oban_rates.until - CAST(EXTRACT(epoch FROM clock_timestamp()) AS DOUBLE PRECISION)) AS "left" 
FROM jobs.oban_rates 
WHERE jobs.oban_rates.until - CAST(EXTRACT(epoch FROM clock_timestamp()) AS DOUBLE PRECISION) > $1::FLOAT GROUP BY jobs.oban_rates.queue ORDER BY jobs.oban_rates.queue
