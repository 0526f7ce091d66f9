SELECT EXISTS (SELECT * 
FROM oban_progress 
WHERE oban_progress.job_id IS NOT NULL) AS oban_progress, EXISTS (SELECT * 
FROM oban_events 
WHERE oban_events.job_id IS NOT NULL) AS oban_events, EXISTS (SELECT * 
FROM oban_steps 
WHERE oban_steps.job_id IS NOT NULL) AS oban_steps, EXISTS (SELECT * 
FROM oban_signals 
WHERE oban_signals.job_id IS NOT NULL) AS oban_signals
