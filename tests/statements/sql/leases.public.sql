SELECT oban_leaders.name, oban_leaders.node AS holder, CAST(CASE WHEN isfinite(oban_leaders.expires_at) THEN EXTRACT(epoch FROM oban_leaders.expires_at - timezone('UTC', now())) END AS FLOAT) AS "left" 
FROM oban_leaders 
 LIMIT $1::INTEGER
