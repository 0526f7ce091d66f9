SELECT (SELECT oban_leaders.node 
FROM oban_leaders 
WHERE oban_leaders.name = $1::VARCHAR AND oban_leaders.expires_at > timezone('UTC', now())) AS holder, (SELECT max(oban_producers.updated_at) AS max_1 
FROM oban_producers 
WHERE oban_producers.name = $2::VARCHAR AND oban_producers.node = $3::VARCHAR) AS beat
