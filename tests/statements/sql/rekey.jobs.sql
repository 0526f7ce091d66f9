UPDATE jobs.oban_jobs SET partition_key=jobs.oban_partition_key(jobs.oban_partitions.epoch, jobs.oban_partitions.by, jobs.oban_jobs.worker, jobs.oban_jobs.args, jobs.oban_jobs.meta) FROM jobs.oban_partitions WHERE jobs.oban_jobs.id = any(array((SELECT jobs.oban_jobs.id 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.id = any($1::BIGINT[]) AND CAST(jobs.oban_jobs.state AS TEXT) IN ('available', 'executing', 'scheduled', 'retryable', 'suspended') ORDER BY jobs.oban_jobs.id FOR UPDATE SKIP LOCKED))) AND jobs.oban_partitions.queue = jobs.oban_jobs.queue AND jobs.oban_partitions.by != '{}' AND (EXISTS (SELECT * 
FROM jobs.oban_leaders 
WHERE jobs.oban_leaders.name = $2::VARCHAR AND jobs.oban_leaders.node = $3::VARCHAR AND jobs.oban_leaders.expires_at > timezone('UTC', now()))) RETURNING jobs.oban_jobs.id
