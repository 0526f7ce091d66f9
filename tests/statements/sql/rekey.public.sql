UPDATE oban_jobs SET partition_key=oban_partition_key(oban_partitions.epoch, oban_partitions.by, oban_jobs.worker, oban_jobs.args, oban_jobs.meta) FROM oban_partitions WHERE oban_jobs.id = any(array((SELECT oban_jobs.id 
FROM oban_jobs 
WHERE oban_jobs.id = any($1::BIGINT[]) AND CAST(oban_jobs.state AS TEXT) IN ('available', 'executing', 'scheduled', 'retryable', 'suspended') ORDER BY oban_jobs.id FOR UPDATE SKIP LOCKED))) AND oban_partitions.queue = oban_jobs.queue AND oban_partitions.by != '{}' AND (EXISTS (SELECT * 
FROM oban_leaders 
WHERE oban_leaders.name = $2::VARCHAR AND oban_leaders.node = $3::VARCHAR AND oban_leaders.expires_at > timezone('UTC', now()))) RETURNING oban_jobs.id
