SELECT (SELECT oban_leaders.node 
FROM oban_leaders 
WHERE oban_leaders.name = $1::VARCHAR AND oban_leaders.expires_at > timezone('UTC', now())) AS holder, (SELECT min(oban_producers.updated_at) AS min_1 
FROM oban_producers 
WHERE CAST(oban_producers.uuid AS TEXT) = any($2::TEXT[])) AS beat
