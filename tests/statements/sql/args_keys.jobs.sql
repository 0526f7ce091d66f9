SELECT DISTINCT jsonb_object_keys(CASE WHEN (jsonb_typeof(newest.args) = 'object') THEN newest.args END) AS key 
FROM (SELECT jobs.oban_jobs.args AS args 
FROM jobs.oban_jobs ORDER BY jobs.oban_jobs.id DESC 
 LIMIT $1::INTEGER) AS newest ORDER BY key 
 LIMIT $2::INTEGER
