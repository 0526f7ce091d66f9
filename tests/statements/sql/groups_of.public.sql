SELECT oban_jobs.workflow_id, oban_jobs.batch_id, oban_jobs.meta ->> 'cron_name' AS cron_name 
FROM oban_jobs 
WHERE oban_jobs.id = $1::BIGINT
