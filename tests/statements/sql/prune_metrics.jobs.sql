WITH gone_0 AS 
(DELETE FROM jobs.oban_metrics WHERE (jobs.oban_metrics.step = 60 AND jobs.oban_metrics.at < timezone('UTC', now()) - interval '10800 seconds' OR jobs.oban_metrics.step = 600 AND jobs.oban_metrics.at < timezone('UTC', now()) - interval '259200 seconds' OR jobs.oban_metrics.step = 3600 AND jobs.oban_metrics.at < timezone('UTC', now()) - interval '2592000 seconds') AND (EXISTS (SELECT * 
FROM jobs.oban_leaders 
WHERE jobs.oban_leaders.name = $1::VARCHAR AND jobs.oban_leaders.node = $2::VARCHAR AND jobs.oban_leaders.expires_at > timezone('UTC', now()))) RETURNING 1 AS one), 
gone_1 AS 
(DELETE FROM jobs.oban_depths WHERE (jobs.oban_depths.step = 60 AND jobs.oban_depths.at < timezone('UTC', now()) - interval '10800 seconds' OR jobs.oban_depths.step = 600 AND jobs.oban_depths.at < timezone('UTC', now()) - interval '259200 seconds' OR jobs.oban_depths.step = 3600 AND jobs.oban_depths.at < timezone('UTC', now()) - interval '2592000 seconds') AND (EXISTS (SELECT * 
FROM jobs.oban_leaders 
WHERE jobs.oban_leaders.name = $1::VARCHAR AND jobs.oban_leaders.node = $2::VARCHAR AND jobs.oban_leaders.expires_at > timezone('UTC', now()))) RETURNING 1 AS one)
 SELECT (SELECT count(*) AS count_1 
FROM gone_0) + (SELECT count(*) AS count_2 
FROM gone_1) AS anon_1
