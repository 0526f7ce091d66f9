SELECT oban_prune_flows(CAST($1::FLOAT AS DOUBLE PRECISION), $2::INTEGER) AS oban_prune_flows_1 
WHERE EXISTS (SELECT * 
FROM oban_leaders 
WHERE oban_leaders.name = $3::VARCHAR AND oban_leaders.node = $4::VARCHAR AND oban_leaders.expires_at > timezone('UTC', now()))
