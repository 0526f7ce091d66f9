WITH looked AS 
(SELECT oban_jobs.id AS id, oban_jobs.partition_key IS NULL OR oban_jobs.partition_key < (CAST($1::INTEGER AS TEXT) || '|') OR oban_jobs.partition_key >= (CAST($1::INTEGER AS TEXT) || '}') AS stale 
FROM oban_jobs 
WHERE oban_jobs.state = 'suspended' AND oban_jobs.queue = $2::VARCHAR AND (oban_jobs.id) > ($3::BIGINT) ORDER BY oban_jobs.id 
 LIMIT $4::INTEGER)
 SELECT totals.ids, totals.seen, last.id 
FROM (SELECT array_agg(looked.id) FILTER (WHERE looked.stale) AS ids, count(*) AS seen 
FROM looked) AS totals LEFT OUTER JOIN (SELECT looked.id AS id 
FROM looked ORDER BY looked.id DESC 
 LIMIT $5::INTEGER) AS last ON true
