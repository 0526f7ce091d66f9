SELECT coalesce(oban_sweep_flows(10000), $1::INTEGER) AS coalesce_1 
WHERE EXISTS (SELECT * 
FROM oban_leaders 
WHERE oban_leaders.name = $2::VARCHAR AND oban_leaders.node = $3::VARCHAR AND oban_leaders.expires_at > timezone('UTC', now()))
