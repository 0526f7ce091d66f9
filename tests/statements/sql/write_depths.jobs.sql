INSERT INTO jobs.oban_depths (step, at, queue, available, scheduled, retryable, executing, oldest) SELECT CAST($1::INTEGER AS SMALLINT) AS anon_1, timezone('UTC', to_timestamp(floor(EXTRACT(epoch FROM now()) / CAST($1::INTEGER AS NUMERIC)) * $1::INTEGER)) AS timezone_1, counted.queue, CAST(coalesce(sum(counted.jobs) FILTER (WHERE counted.state = 'available'), $2::INTEGER) AS INTEGER) AS coalesce_1, CAST(coalesce(sum(counted.jobs) FILTER (WHERE counted.state = 'scheduled'), $3::INTEGER) AS INTEGER) AS coalesce_3, CAST(coalesce(sum(counted.jobs) FILTER (WHERE counted.state = 'retryable'), $4::INTEGER) AS INTEGER) AS coalesce_5, CAST(coalesce(sum(counted.jobs) FILTER (WHERE counted.state = 'executing'), $5::INTEGER) AS INTEGER) AS coalesce_7, CAST(max(counted.oldest) AS REAL) AS max_1 
FROM (SELECT jobs.oban_jobs.queue AS queue, CAST('available' AS TEXT) AS state, count(*) AS jobs, CAST(max(EXTRACT(epoch FROM CASE WHEN isfinite(jobs.oban_jobs.scheduled_at) THEN timezone('UTC', now()) - jobs.oban_jobs.scheduled_at END)) AS FLOAT) AS oldest 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'available' GROUP BY jobs.oban_jobs.queue UNION ALL SELECT jobs.oban_jobs.queue AS queue, CAST('executing' AS TEXT) AS state, count(*) AS jobs, CAST(NULL AS FLOAT) AS oldest 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'executing' GROUP BY jobs.oban_jobs.queue UNION ALL SELECT jobs.oban_jobs.queue AS queue, CAST(jobs.oban_jobs.state AS TEXT) AS state, count(*) AS jobs, CAST(NULL AS FLOAT) AS oldest 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state IN ('scheduled', 'retryable') GROUP BY jobs.oban_jobs.queue, jobs.oban_jobs.state) AS counted 
WHERE EXISTS (SELECT * 
FROM jobs.oban_leaders 
WHERE jobs.oban_leaders.name = $6::VARCHAR AND jobs.oban_leaders.node = $7::VARCHAR AND jobs.oban_leaders.expires_at > timezone('UTC', now())) GROUP BY counted.queue ON CONFLICT (step, at, queue) DO UPDATE SET available = excluded.available, scheduled = excluded.scheduled, retryable = excluded.retryable, executing = excluded.executing, oldest = excluded.oldest RETURNING jobs.oban_depths.queue
