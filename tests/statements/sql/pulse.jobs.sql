SELECT (SELECT jobs.oban_leaders.node 
FROM jobs.oban_leaders 
WHERE jobs.oban_leaders.name = $1::VARCHAR AND jobs.oban_leaders.expires_at > timezone('UTC', now())) AS holder, (SELECT max(jobs.oban_producers.updated_at) AS max_1 
FROM jobs.oban_producers 
WHERE jobs.oban_producers.name = $2::VARCHAR AND jobs.oban_producers.node = $3::VARCHAR) AS beat
