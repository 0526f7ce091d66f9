SELECT jobs.oban_queues.queue, jobs.oban_queues.node != '' AS is_own, jobs.oban_queues.started, jobs.oban_queues.paused, jobs.oban_queues.local_limit, CAST(jobs.oban_queues.limits AS TEXT) AS limits, CAST(NULL AS BIGINT) AS job_id, CAST(NULL AS DOUBLE PRECISION) AS suspended 
FROM jobs.oban_queues 
WHERE jobs.oban_queues.name = $1::VARCHAR AND jobs.oban_queues.node IN ('', $2::VARCHAR) UNION ALL SELECT jobs.oban_rates.queue, CAST(NULL AS BOOLEAN) AS anon_1, CAST(NULL AS BOOLEAN) AS anon__1, CAST(NULL AS BOOLEAN) AS anon__2, CAST(NULL AS INTEGER) AS anon__3, CAST(NULL AS TEXT) AS anon__4, CAST(NULL AS BIGINT) AS anon__5, jobs.oban_rates.until - CAST(EXTRACT(epoch FROM clock_timestamp()) AS DOUBLE PRECISION) AS anon_2 
FROM jobs.oban_rates 
WHERE jobs.oban_rates.key = '' AND jobs.oban_rates.until > CAST(EXTRACT(epoch FROM clock_timestamp()) AS DOUBLE PRECISION) UNION ALL SELECT CAST(NULL AS TEXT) AS anon_1, CAST(NULL AS BOOLEAN) AS anon__6, CAST(NULL AS BOOLEAN) AS anon__7, CAST(NULL AS BOOLEAN) AS anon__8, CAST(NULL AS INTEGER) AS anon__9, CAST(NULL AS TEXT) AS anon__10, jobs.oban_jobs.id, CAST(NULL AS DOUBLE PRECISION) AS anon__11 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.id = any(CAST($3::TEXT[] AS BIGINT[])) AND jobs.oban_jobs.cancel_at IS NOT NULL AND jobs.oban_jobs.state = 'executing'
