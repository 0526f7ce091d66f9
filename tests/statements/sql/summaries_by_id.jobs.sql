SELECT jobs.oban_jobs.id, jobs.oban_jobs.state, jobs.oban_jobs.queue, jobs.oban_jobs.worker, jobs.oban_jobs.attempt, jobs.oban_jobs.max_attempts, jobs.oban_jobs.priority, jobs.oban_jobs.tags, jobs.oban_jobs.inserted_at, jobs.oban_jobs.scheduled_at, jobs.oban_jobs.attempted_at, jobs.oban_jobs.completed_at, jobs.oban_jobs.cancelled_at, jobs.oban_jobs.discarded_at, jobs.oban_jobs.workflow_id, jobs.oban_jobs.node_name, jobs.oban_jobs.batch_id, jobs.oban_jobs.chain_key, (jobs.oban_jobs.errors -> -1) ->> 'error' AS error 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.id = any($1::BIGINT[])
