SELECT oban_signals.name, oban_signals.payload, oban_signals.taken, oban_signals.at 
FROM oban_signals 
WHERE oban_signals.job_id = $1::BIGINT ORDER BY oban_signals.id
