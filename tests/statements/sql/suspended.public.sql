SELECT oban_rates.queue, count(*) FILTER (WHERE oban_rates.key != '') AS keys, bool_or(oban_rates.key = '') AS whole, max(oban_rates.until - CAST(EXTRACT(epoch FROM clock_timestamp()) AS DOUBLE PRECISION)) AS "left" 
FROM oban_rates 
WHERE oban_rates.until - CAST(EXTRACT(epoch FROM clock_timestamp()) AS DOUBLE PRECISION) > $1::FLOAT GROUP BY oban_rates.queue ORDER BY oban_rates.queue
