SELECT EXISTS (SELECT * 
FROM jobs.oban_progress 
WHERE jobs.oban_progress.job_id IS NOT NULL) AS oban_progress, EXISTS (SELECT * 
FROM jobs.oban_events 
WHERE jobs.oban_events.job_id IS NOT NULL) AS oban_events, EXISTS (SELECT * 
FROM jobs.oban_steps 
WHERE jobs.oban_steps.job_id IS NOT NULL) AS oban_steps, EXISTS (SELECT * 
FROM jobs.oban_signals 
WHERE jobs.oban_signals.job_id IS NOT NULL) AS oban_signals
