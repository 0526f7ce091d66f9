WITH given_up AS 
(DELETE FROM jobs.oban_leaders WHERE jobs.oban_leaders.name = any($3::TEXT[]) AND jobs.oban_leaders.node = $4::VARCHAR RETURNING jobs.oban_leaders.name)
 SELECT given_up.name, pg_notify($1::VARCHAR, $2::VARCHAR) AS pg_notify_1 
FROM given_up
