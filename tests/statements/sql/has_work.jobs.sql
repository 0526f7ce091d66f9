SELECT (EXISTS (SELECT * 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'available' AND jobs.oban_jobs.queue = any($1::TEXT[]))) OR (EXISTS (SELECT * 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'executing' AND jobs.oban_jobs.queue = any($1::TEXT[]) AND (coalesce(lower(jobs.oban_jobs.attempted_by[2]), '') = any($2::TEXT[]) OR (substr(replace(coalesce(lower(jobs.oban_jobs.attempted_by[2]), ''), $3::VARCHAR, $4::VARCHAR), $5::INTEGER, $6::INTEGER) NOT IN (
    SELECT lpad(to_hex(classid::bigint), 8, '0') || lpad(to_hex(objid::bigint), 8, '0')
    FROM pg_catalog.pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND granted
      AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
))))) OR (EXISTS (SELECT * 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state IN ('scheduled', 'retryable') AND jobs.oban_jobs.scheduled_at <= timezone('UTC', now()) AND jobs.oban_jobs.queue = any($1::TEXT[]))) OR (EXISTS (SELECT jobs.oban_news.id 
FROM jobs.oban_news 
 LIMIT $7::INTEGER)) AS anon_1
