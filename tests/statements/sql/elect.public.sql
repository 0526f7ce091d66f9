WITH own AS 
(INSERT INTO oban_leaders (name, node, elected_at, expires_at) SELECT $1::VARCHAR AS anon_1, $2::VARCHAR AS anon_2, timezone('UTC', now()) AS timezone_1, timezone('UTC', now()) + $3::FLOAT * interval '1 second' AS anon_3 ON CONFLICT (name) DO UPDATE SET node = excluded.node, elected_at = CASE WHEN (oban_leaders.node = excluded.node) THEN oban_leaders.elected_at ELSE excluded.elected_at END, expires_at = excluded.expires_at WHERE oban_leaders.node = excluded.node OR oban_leaders.expires_at <= timezone('UTC', now()) OR oban_leaders.expires_at > timezone('UTC', now()) + interval '2 hours' RETURNING oban_leaders.name), 
other AS 
(INSERT INTO oban_leaders (name, node, elected_at, expires_at) SELECT $4::VARCHAR AS anon_4, $2::VARCHAR AS anon_5, timezone('UTC', now()) AS timezone_2, timezone('UTC', now()) + $3::FLOAT * interval '1 second' AS anon_3 
WHERE EXISTS (SELECT own.name 
FROM own) ON CONFLICT (name) DO UPDATE SET node = excluded.node, elected_at = CASE WHEN (oban_leaders.node = excluded.node) THEN oban_leaders.elected_at ELSE excluded.elected_at END, expires_at = excluded.expires_at WHERE oban_leaders.node = excluded.node OR oban_leaders.expires_at <= timezone('UTC', now()) OR oban_leaders.expires_at > timezone('UTC', now()) + interval '2 hours' RETURNING oban_leaders.name)
 SELECT EXISTS (SELECT own.name 
FROM own) AS leads, EXISTS (SELECT other.name 
FROM other) AS oban, (SELECT CAST(EXTRACT(epoch FROM oban_leaders.expires_at - timezone('UTC', now())) AS FLOAT) AS anon_6 
FROM oban_leaders 
WHERE oban_leaders.name = $1::VARCHAR AND NOT (oban_leaders.expires_at <= timezone('UTC', now()) OR oban_leaders.expires_at > timezone('UTC', now()) + interval '2 hours')) AS "left"
