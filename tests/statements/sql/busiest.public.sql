SELECT found.key, found.running, (SELECT count(*) AS count_1 
FROM generate_series($1::INTEGER, $2::INTEGER) AS priorities(priority) JOIN LATERAL (SELECT oban_jobs.id AS id 
FROM oban_jobs 
WHERE oban_jobs.state = 'available' AND oban_jobs.queue = $3::VARCHAR AND oban_jobs.priority = CAST(priorities.priority AS SMALLINT) AND oban_jobs.partition_key IS NOT NULL AND oban_jobs.partition_key >= found.key AND oban_jobs.partition_key <= found.key ORDER BY oban_jobs.partition_key 
 LIMIT $4::INTEGER) AS waiting ON true) AS waiting, found."left" 
FROM (SELECT coalesce(running.key, asleep.key) AS key, coalesce(running.running, $5::INTEGER) AS running, asleep."left" AS "left" 
FROM (SELECT oban_jobs.partition_key AS key, count(*) AS running 
FROM oban_jobs 
WHERE oban_jobs.state = 'executing' AND oban_jobs.queue = $3::VARCHAR AND oban_jobs.partition_key IS NOT NULL GROUP BY oban_jobs.partition_key ORDER BY running DESC, oban_jobs.partition_key 
 LIMIT $6::INTEGER) AS running FULL OUTER JOIN (SELECT oban_rates.key AS key, oban_rates.until - CAST(EXTRACT(epoch FROM clock_timestamp()) AS DOUBLE PRECISION) AS "left" 
FROM oban_rates 
WHERE oban_rates.queue = $3::VARCHAR AND oban_rates.key != '' AND oban_rates.until - CAST(EXTRACT(epoch FROM clock_timestamp()) AS DOUBLE PRECISION) > $7::INTEGER ORDER BY "left" DESC 
 LIMIT $6::INTEGER) AS asleep ON asleep.key = running.key) AS found ORDER BY found.running DESC, found.key
