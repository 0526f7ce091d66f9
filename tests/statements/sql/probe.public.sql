SELECT true AS anon_1 
FROM oban_jobs 
WHERE oban_jobs.id = $1::BIGINT FOR UPDATE SKIP LOCKED
