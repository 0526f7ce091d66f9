WITH chosen AS 
(SELECT jobs.oban_batches.id AS id 
FROM jobs.oban_batches 
WHERE jobs.oban_batches.finished_at < timezone('UTC', now()) - $1::FLOAT * interval '1 second' AND NOT (EXISTS (SELECT * 
FROM jobs.oban_jobs AS other 
WHERE other.batch_id = jobs.oban_batches.id AND other.batch_id IS NOT NULL AND other.state <= 'retryable')) AND NOT (EXISTS (SELECT * 
FROM jobs.oban_jobs AS other 
WHERE other.batch_id = jobs.oban_batches.id AND other.batch_id IS NOT NULL AND other.chain_key IS NOT NULL AND coalesce(other.state = 'discarded' AND left(other.chain_key, 2) = 'h|', false))) AND (EXISTS (SELECT * 
FROM jobs.oban_leaders 
WHERE jobs.oban_leaders.name = $2::VARCHAR AND jobs.oban_leaders.node = $3::VARCHAR AND jobs.oban_leaders.expires_at > timezone('UTC', now()))) ORDER BY jobs.oban_batches.finished_at 
 LIMIT $4::INTEGER FOR UPDATE SKIP LOCKED), 
held AS 
(SELECT jobs.oban_jobs.id AS id, jobs.oban_jobs.batch_id AS batch_id 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.batch_id IN (SELECT chosen.id 
FROM chosen) AND jobs.oban_jobs.state IN ('completed', 'discarded', 'cancelled') FOR UPDATE SKIP LOCKED), 
whole AS 
(SELECT chosen.id AS id 
FROM chosen LEFT OUTER JOIN (SELECT jobs.oban_jobs.batch_id AS id, count(*) AS number 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.batch_id IN (SELECT chosen.id 
FROM chosen) GROUP BY jobs.oban_jobs.batch_id) AS every ON every.id = chosen.id LEFT OUTER JOIN (SELECT held.batch_id AS id, count(*) AS number 
FROM held GROUP BY held.batch_id) AS locked ON locked.id = chosen.id 
WHERE every.number IS NOT DISTINCT FROM locked.number), 
gone AS 
(DELETE FROM jobs.oban_jobs WHERE jobs.oban_jobs.id = any(array((SELECT held.id 
FROM held 
WHERE held.batch_id IN (SELECT whole.id 
FROM whole)))) RETURNING jobs.oban_jobs.id), 
gone_0 AS 
(DELETE FROM jobs.oban_progress WHERE jobs.oban_progress.job_id = any(array((SELECT gone.id 
FROM gone)))), 
gone_1 AS 
(DELETE FROM jobs.oban_events WHERE jobs.oban_events.job_id = any(array((SELECT gone.id 
FROM gone)))), 
gone_2 AS 
(DELETE FROM jobs.oban_steps WHERE jobs.oban_steps.job_id = any(array((SELECT gone.id 
FROM gone)))), 
gone_3 AS 
(DELETE FROM jobs.oban_signals WHERE jobs.oban_signals.job_id = any(array((SELECT gone.id 
FROM gone)))), 
batches_gone AS 
(DELETE FROM jobs.oban_batches WHERE jobs.oban_batches.id IN (SELECT whole.id 
FROM whole) RETURNING jobs.oban_batches.id)
 SELECT (SELECT count(*) AS count_1 
FROM gone) AS anon_1, (SELECT count(*) AS count_2 
FROM batches_gone) AS anon_2
