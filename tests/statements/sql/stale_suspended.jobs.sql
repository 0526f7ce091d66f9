WITH looked AS 
(SELECT jobs.oban_jobs.id AS id, jobs.oban_jobs.partition_key IS NULL OR jobs.oban_jobs.partition_key < (CAST($1::INTEGER AS TEXT) || '|') OR jobs.oban_jobs.partition_key >= (CAST($1::INTEGER AS TEXT) || '}') AS stale 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'suspended' AND jobs.oban_jobs.queue = $2::VARCHAR AND (jobs.oban_jobs.id) > ($3::BIGINT) ORDER BY jobs.oban_jobs.id 
 LIMIT $4::INTEGER)
 SELECT totals.ids, totals.seen, last.id 
FROM (SELECT array_agg(looked.id) FILTER (WHERE looked.stale) AS ids, count(*) AS seen 
FROM looked) AS totals LEFT OUTER JOIN (SELECT looked.id AS id 
FROM looked ORDER BY looked.id DESC 
 LIMIT $5::INTEGER) AS last ON true
