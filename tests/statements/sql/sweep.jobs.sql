SELECT coalesce(jobs.oban_sweep_flows(10000), $1::INTEGER) AS coalesce_1 
WHERE EXISTS (SELECT * 
FROM jobs.oban_leaders 
WHERE jobs.oban_leaders.name = $2::VARCHAR AND jobs.oban_leaders.node = $3::VARCHAR AND jobs.oban_leaders.expires_at > timezone('UTC', now()))
