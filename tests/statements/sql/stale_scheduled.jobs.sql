WITH looked AS 
(SELECT jobs.oban_jobs.scheduled_at AS scheduled_at, jobs.oban_jobs.id AS id, jobs.oban_jobs.partition_key IS NULL OR jobs.oban_jobs.partition_key < (CAST($1::INTEGER AS TEXT) || '|') OR jobs.oban_jobs.partition_key >= (CAST($1::INTEGER AS TEXT) || '}') AS stale 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state IN ('scheduled', 'retryable') AND jobs.oban_jobs.queue = $2::VARCHAR AND (jobs.oban_jobs.scheduled_at, jobs.oban_jobs.id) > ($3::TIMESTAMP WITHOUT TIME ZONE, $4::BIGINT) ORDER BY jobs.oban_jobs.scheduled_at, jobs.oban_jobs.id 
 LIMIT $5::INTEGER)
 SELECT totals.ids, totals.seen, last.scheduled_at, last.id 
FROM (SELECT array_agg(looked.id) FILTER (WHERE looked.stale) AS ids, count(*) AS seen 
FROM looked) AS totals LEFT OUTER JOIN (SELECT looked.scheduled_at AS scheduled_at, looked.id AS id 
FROM looked ORDER BY looked.scheduled_at DESC, looked.id DESC 
 LIMIT $6::INTEGER) AS last ON true
