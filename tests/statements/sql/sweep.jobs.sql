SELECT coalesce(jobs.oban_sweep_flows(10000), $1::INTEGER) + coalesce(jobs.oban_sweep_batches(10000), $2::INTEGER) + coalesce(jobs.oban_sweep_chains(10000), $3::INTEGER) AS anon_1 
WHERE EXISTS (SELECT * 
FROM jobs.oban_leaders 
WHERE jobs.oban_leaders.name = $4::VARCHAR AND jobs.oban_leaders.node = $5::VARCHAR AND jobs.oban_leaders.expires_at > timezone('UTC', now()))
