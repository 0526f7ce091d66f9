SELECT chosen.key, jobs.oban_suspend(CAST($1::VARCHAR AS TEXT), chosen.key, CAST(EXTRACT(epoch FROM clock_timestamp()) AS DOUBLE PRECISION) + CAST($2::FLOAT AS DOUBLE PRECISION)) AS oban_suspend_1 
FROM (SELECT CASE WHEN CAST($3::BOOLEAN AS BOOLEAN) THEN '' ELSE coalesce(nullif((SELECT jobs.oban_jobs.partition_key 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.id = $4::BIGINT), '?'), '') END AS key) AS chosen
