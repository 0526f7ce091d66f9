SELECT CAST(oban_jobs.state AS TEXT) AS state 
FROM oban_jobs 
WHERE oban_jobs.id = $1::BIGINT
