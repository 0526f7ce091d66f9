SELECT jobs.oban_leaders.name, jobs.oban_leaders.node AS holder, CAST(CASE WHEN isfinite(jobs.oban_leaders.expires_at) THEN EXTRACT(epoch FROM jobs.oban_leaders.expires_at - timezone('UTC', now())) END AS FLOAT) AS "left" 
FROM jobs.oban_leaders 
 LIMIT $1::INTEGER
