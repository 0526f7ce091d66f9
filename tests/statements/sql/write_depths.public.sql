INSERT INTO oban_depths (step, at, queue, available, scheduled, retryable, executing, oldest) SELECT CAST($1::INTEGER AS SMALLINT) AS anon_1, timezone('UTC', to_timestamp(floor(EXTRACT(epoch FROM now()) / CAST($1::INTEGER AS NUMERIC)) * $1::INTEGER)) AS timezone_1, counted.queue, CAST(coalesce(sum(counted.jobs) FILTER (WHERE counted.state = 'available'), $2::INTEGER) AS INTEGER) AS coalesce_1, CAST(coalesce(sum(counted.jobs) FILTER (WHERE counted.state = 'scheduled'), $3::INTEGER) AS INTEGER) AS coalesce_3, CAST(coalesce(sum(counted.jobs) FILTER (WHERE counted.state = 'retryable'), $4::INTEGER) AS INTEGER) AS coalesce_5, CAST(coalesce(sum(counted.jobs) FILTER (WHERE counted.state = 'executing'), $5::INTEGER) AS INTEGER) AS coalesce_7, CAST(max(counted.oldest) AS REAL) AS max_1 
FROM (SELECT oban_jobs.queue AS queue, CAST('available' AS TEXT) AS state, count(*) AS jobs, CAST(max(EXTRACT(epoch FROM CASE WHEN isfinite(oban_jobs.scheduled_at) THEN timezone('UTC', now()) - oban_jobs.scheduled_at END)) AS FLOAT) AS oldest 
FROM oban_jobs 
WHERE oban_jobs.state = 'available' GROUP BY oban_jobs.queue UNION ALL SELECT oban_jobs.queue AS queue, CAST('executing' AS TEXT) AS state, count(*) AS jobs, CAST(NULL AS FLOAT) AS oldest 
FROM oban_jobs 
WHERE oban_jobs.state = 'executing' GROUP BY oban_jobs.queue UNION ALL SELECT oban_jobs.queue AS queue, CAST(oban_jobs.state AS TEXT) AS state, count(*) AS jobs, CAST(NULL AS FLOAT) AS oldest 
FROM oban_jobs 
WHERE oban_jobs.state IN ('scheduled', 'retryable') GROUP BY oban_jobs.queue, oban_jobs.state) AS counted 
WHERE EXISTS (SELECT * 
FROM oban_leaders 
WHERE oban_leaders.name = $6::VARCHAR AND oban_leaders.node = $7::VARCHAR AND oban_leaders.expires_at > timezone('UTC', now())) GROUP BY counted.queue ON CONFLICT (step, at, queue) DO UPDATE SET available = excluded.available, scheduled = excluded.scheduled, retryable = excluded.retryable, executing = excluded.executing, oldest = excluded.oldest RETURNING oban_depths.queue
