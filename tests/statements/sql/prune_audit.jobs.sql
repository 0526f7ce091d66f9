WITH gone AS 
(DELETE FROM jobs.oban_audit WHERE jobs.oban_audit.id = any(array((SELECT oldest.id 
FROM (SELECT jobs.oban_audit.id AS id, jobs.oban_audit.at AS at 
FROM jobs.oban_audit ORDER BY jobs.oban_audit.id 
 LIMIT $1::INTEGER) AS oldest 
WHERE oldest.at < timezone('UTC', now()) - $2::BIGINT * interval '1 second'))) AND (EXISTS (SELECT * 
FROM jobs.oban_leaders 
WHERE jobs.oban_leaders.name = $3::VARCHAR AND jobs.oban_leaders.node = $4::VARCHAR AND jobs.oban_leaders.expires_at > timezone('UTC', now()))) RETURNING jobs.oban_audit.id)
 SELECT count(*) AS count_1 
FROM gone
