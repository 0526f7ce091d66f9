SELECT jobs.oban_prune_flows(CAST($1::FLOAT AS DOUBLE PRECISION), $2::INTEGER) AS oban_prune_flows_1 
WHERE EXISTS (SELECT * 
FROM jobs.oban_leaders 
WHERE jobs.oban_leaders.name = $3::VARCHAR AND jobs.oban_leaders.node = $4::VARCHAR AND jobs.oban_leaders.expires_at > timezone('UTC', now()))
