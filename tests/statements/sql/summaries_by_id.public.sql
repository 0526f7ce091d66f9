SELECT oban_jobs.id, oban_jobs.state, oban_jobs.queue, oban_jobs.worker, oban_jobs.attempt, oban_jobs.max_attempts, oban_jobs.priority, oban_jobs.tags, oban_jobs.inserted_at, oban_jobs.scheduled_at, oban_jobs.attempted_at, oban_jobs.completed_at, oban_jobs.cancelled_at, oban_jobs.discarded_at, oban_jobs.workflow_id, oban_jobs.node_name, oban_jobs.batch_id, oban_jobs.chain_key, (oban_jobs.errors -> -1) ->> 'error' AS error 
FROM oban_jobs 
WHERE oban_jobs.id = any($1::BIGINT[])
