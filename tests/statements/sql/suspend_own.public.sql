SELECT chosen.key, oban_suspend(CAST($1::VARCHAR AS TEXT), chosen.key, CAST(EXTRACT(epoch FROM clock_timestamp()) AS DOUBLE PRECISION) + CAST($2::FLOAT AS DOUBLE PRECISION)) AS oban_suspend_1 
FROM (SELECT CASE WHEN CAST($3::BOOLEAN AS BOOLEAN) THEN '' ELSE coalesce(nullif((SELECT oban_jobs.partition_key 
FROM oban_jobs 
WHERE oban_jobs.id = $4::BIGINT), '?'), '') END AS key) AS chosen
