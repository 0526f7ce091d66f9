SELECT oban_queues.queue, oban_queues.node != '' AS is_own, oban_queues.started, oban_queues.paused, oban_queues.local_limit, CAST(oban_queues.limits AS TEXT) AS limits, CAST(NULL AS BIGINT) AS job_id, CAST(NULL AS DOUBLE PRECISION) AS suspended 
FROM oban_queues 
WHERE oban_queues.name = $1::VARCHAR AND oban_queues.node IN ('', $2::VARCHAR) UNION ALL SELECT oban_rates.queue, CAST(NULL AS BOOLEAN) AS anon_1, CAST(NULL AS BOOLEAN) AS anon__1, CAST(NULL AS BOOLEAN) AS anon__2, CAST(NULL AS INTEGER) AS anon__3, CAST(NULL AS TEXT) AS anon__4, CAST(NULL AS BIGINT) AS anon__5, oban_rates.until - CAST(EXTRACT(epoch FROM clock_timestamp()) AS DOUBLE PRECISION) AS anon_2 
FROM oban_rates 
WHERE oban_rates.key = '' AND oban_rates.until > CAST(EXTRACT(epoch FROM clock_timestamp()) AS DOUBLE PRECISION) UNION ALL SELECT CAST(NULL AS TEXT) AS anon_1, CAST(NULL AS BOOLEAN) AS anon__6, CAST(NULL AS BOOLEAN) AS anon__7, CAST(NULL AS BOOLEAN) AS anon__8, CAST(NULL AS INTEGER) AS anon__9, CAST(NULL AS TEXT) AS anon__10, oban_jobs.id, CAST(NULL AS DOUBLE PRECISION) AS anon__11 
FROM oban_jobs 
WHERE oban_jobs.id = any(CAST($3::TEXT[] AS BIGINT[])) AND oban_jobs.cancel_at IS NOT NULL AND oban_jobs.state = 'executing'
