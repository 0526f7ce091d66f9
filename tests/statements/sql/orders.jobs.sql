SELECT jobs.oban_queues.queue, jobs.oban_queues.node != '' AS is_own, jobs.oban_queues.started, jobs.oban_queues.paused, jobs.oban_queues.local_limit, CAST(NULL AS BIGINT) AS job_id 
FROM jobs.oban_queues 
WHERE jobs.oban_queues.name = $1::VARCHAR AND jobs.oban_queues.node IN ('', $2::VARCHAR) UNION ALL SELECT CAST(NULL AS TEXT) AS anon_1, CAST(NULL AS BOOLEAN) AS anon__1, CAST(NULL AS BOOLEAN) AS anon__2, CAST(NULL AS BOOLEAN) AS anon__3, CAST(NULL AS INTEGER) AS anon__4, jobs.oban_jobs.id 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.id = any(CAST($3::TEXT[] AS BIGINT[])) AND jobs.oban_jobs.cancel_at IS NOT NULL AND jobs.oban_jobs.state = 'executing'
