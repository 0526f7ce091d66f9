WITH chosen AS 
(SELECT oban_batches.id AS id 
FROM oban_batches 
WHERE oban_batches.finished_at < timezone('UTC', now()) - $1::FLOAT * interval '1 second' AND NOT (EXISTS (SELECT * 
FROM oban_jobs AS other 
WHERE other.batch_id = oban_batches.id AND other.batch_id IS NOT NULL AND other.state <= 'retryable')) AND NOT (EXISTS (SELECT * 
FROM oban_jobs AS other 
WHERE other.batch_id = oban_batches.id AND other.batch_id IS NOT NULL AND other.chain_key IS NOT NULL AND coalesce(other.state = 'discarded' AND left(other.chain_key, 2) = 'h|', false))) AND (EXISTS (SELECT * 
FROM oban_leaders 
WHERE oban_leaders.name = $2::VARCHAR AND oban_leaders.node = $3::VARCHAR AND oban_leaders.expires_at > timezone('UTC', now()))) ORDER BY oban_batches.finished_at 
 LIMIT $4::INTEGER FOR UPDATE SKIP LOCKED), 
held AS 
(SELECT oban_jobs.id AS id, oban_jobs.batch_id AS batch_id 
FROM oban_jobs 
WHERE oban_jobs.batch_id IN (SELECT chosen.id 
FROM chosen) AND oban_jobs.state IN ('completed', 'discarded', 'cancelled') FOR UPDATE SKIP LOCKED), 
whole AS 
(SELECT chosen.id AS id 
FROM chosen LEFT OUTER JOIN (SELECT oban_jobs.batch_id AS id, count(*) AS number 
FROM oban_jobs 
WHERE oban_jobs.batch_id IN (SELECT chosen.id 
FROM chosen) GROUP BY oban_jobs.batch_id) AS every ON every.id = chosen.id LEFT OUTER JOIN (SELECT held.batch_id AS id, count(*) AS number 
FROM held GROUP BY held.batch_id) AS locked ON locked.id = chosen.id 
WHERE every.number IS NOT DISTINCT FROM locked.number), 
gone AS 
(DELETE FROM oban_jobs WHERE oban_jobs.id = any(array((SELECT held.id 
FROM held 
WHERE held.batch_id IN (SELECT whole.id 
FROM whole)))) RETURNING oban_jobs.id), 
gone_0 AS 
(DELETE FROM oban_progress WHERE oban_progress.job_id = any(array((SELECT gone.id 
FROM gone)))), 
gone_1 AS 
(DELETE FROM oban_events WHERE oban_events.job_id = any(array((SELECT gone.id 
FROM gone)))), 
gone_2 AS 
(DELETE FROM oban_steps WHERE oban_steps.job_id = any(array((SELECT gone.id 
FROM gone)))), 
gone_3 AS 
(DELETE FROM oban_signals WHERE oban_signals.job_id = any(array((SELECT gone.id 
FROM gone)))), 
batches_gone AS 
(DELETE FROM oban_batches WHERE oban_batches.id IN (SELECT whole.id 
FROM whole) RETURNING oban_batches.id)
 SELECT (SELECT count(*) AS count_1 
FROM gone) AS anon_1, (SELECT count(*) AS count_2 
FROM batches_gone) AS anon_2
