WITH gone AS 
(DELETE FROM oban_audit WHERE oban_audit.id = any(array((SELECT oldest.id 
FROM (SELECT oban_audit.id AS id, oban_audit.at AS at 
FROM oban_audit ORDER BY oban_audit.id 
 LIMIT $1::INTEGER) AS oldest 
WHERE oldest.at < timezone('UTC', now()) - $2::BIGINT * interval '1 second'))) AND (EXISTS (SELECT * 
FROM oban_leaders 
WHERE oban_leaders.name = $3::VARCHAR AND oban_leaders.node = $4::VARCHAR AND oban_leaders.expires_at > timezone('UTC', now()))) RETURNING oban_audit.id)
 SELECT count(*) AS count_1 
FROM gone
