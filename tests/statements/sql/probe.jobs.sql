SELECT true AS anon_1 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.id = $1::BIGINT FOR UPDATE SKIP LOCKED
