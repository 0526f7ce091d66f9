SELECT oban_queues.queue, oban_queues.node != '' AS is_own, oban_queues.started, oban_queues.paused, oban_queues.local_limit, CAST(NULL AS BIGINT) AS job_id 
FROM oban_queues 
WHERE oban_queues.name = $1::VARCHAR AND oban_queues.node IN ('', $2::VARCHAR) UNION ALL SELECT CAST(NULL AS TEXT) AS anon_1, CAST(NULL AS BOOLEAN) AS anon__1, CAST(NULL AS BOOLEAN) AS anon__2, CAST(NULL AS BOOLEAN) AS anon__3, CAST(NULL AS INTEGER) AS anon__4, oban_jobs.id 
FROM oban_jobs 
WHERE oban_jobs.id = any(CAST($3::TEXT[] AS BIGINT[])) AND oban_jobs.cancel_at IS NOT NULL AND oban_jobs.state = 'executing'
