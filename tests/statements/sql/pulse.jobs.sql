SELECT (SELECT jobs.oban_leaders.node 
FROM jobs.oban_leaders 
WHERE jobs.oban_leaders.name = $1::VARCHAR AND jobs.oban_leaders.expires_at > timezone('UTC', now())) AS holder, (SELECT min(jobs.oban_producers.updated_at) AS min_1 
FROM jobs.oban_producers 
WHERE CAST(jobs.oban_producers.uuid AS TEXT) = any($2::TEXT[])) AS beat
