SELECT jobs.oban_signals.name, jobs.oban_signals.payload, jobs.oban_signals.taken, jobs.oban_signals.at 
FROM jobs.oban_signals 
WHERE jobs.oban_signals.job_id = $1::BIGINT ORDER BY jobs.oban_signals.id
