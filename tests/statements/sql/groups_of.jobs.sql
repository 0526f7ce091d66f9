SELECT jobs.oban_jobs.workflow_id, jobs.oban_jobs.batch_id, jobs.oban_jobs.meta ->> 'cron_name' AS cron_name 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.id = $1::BIGINT
