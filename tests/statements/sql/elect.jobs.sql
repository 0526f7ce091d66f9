WITH own AS 
(INSERT INTO jobs.oban_leaders (name, node, elected_at, expires_at) SELECT $1::VARCHAR AS anon_1, $2::VARCHAR AS anon_2, timezone('UTC', now()) AS timezone_1, timezone('UTC', now()) + $3::FLOAT * interval '1 second' AS anon_3 ON CONFLICT (name) DO UPDATE SET node = excluded.node, elected_at = CASE WHEN (jobs.oban_leaders.node = excluded.node) THEN jobs.oban_leaders.elected_at ELSE excluded.elected_at END, expires_at = excluded.expires_at WHERE jobs.oban_leaders.node = excluded.node OR jobs.oban_leaders.expires_at <= timezone('UTC', now()) OR jobs.oban_leaders.expires_at > timezone('UTC', now()) + interval '2 hours' RETURNING jobs.oban_leaders.name), 
other AS 
(INSERT INTO jobs.oban_leaders (name, node, elected_at, expires_at) SELECT $4::VARCHAR AS anon_4, $2::VARCHAR AS anon_5, timezone('UTC', now()) AS timezone_2, timezone('UTC', now()) + $3::FLOAT * interval '1 second' AS anon_3 
WHERE EXISTS (SELECT own.name 
FROM own) ON CONFLICT (name) DO UPDATE SET node = excluded.node, elected_at = CASE WHEN (jobs.oban_leaders.node = excluded.node) THEN jobs.oban_leaders.elected_at ELSE excluded.elected_at END, expires_at = excluded.expires_at WHERE jobs.oban_leaders.node = excluded.node OR jobs.oban_leaders.expires_at <= timezone('UTC', now()) OR jobs.oban_leaders.expires_at > timezone('UTC', now()) + interval '2 hours' RETURNING jobs.oban_leaders.name)
 SELECT EXISTS (SELECT own.name 
FROM own) AS leads, EXISTS (SELECT other.name 
FROM other) AS oban, (SELECT CAST(EXTRACT(epoch FROM jobs.oban_leaders.expires_at - timezone('UTC', now())) AS FLOAT) AS anon_6 
FROM jobs.oban_leaders 
WHERE jobs.oban_leaders.name = $1::VARCHAR AND NOT (jobs.oban_leaders.expires_at <= timezone('UTC', now()) OR jobs.oban_leaders.expires_at > timezone('UTC', now()) + interval '2 hours')) AS "left"
