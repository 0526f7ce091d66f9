WITH ours AS 
(SELECT runs.place AS place, runs.id AS id 
FROM unnest($6::BIGINT[], $7::SMALLINT[], $8::TEXT[], $9::TIMESTAMP WITHOUT TIME ZONE[]) WITH ORDINALITY AS runs(id, attempt, producer, attempted_at, place) JOIN LATERAL (SELECT jobs.oban_jobs.id AS id 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.id = runs.id AND CAST(jobs.oban_jobs.state AS TEXT) = 'executing' AND jobs.oban_jobs.attempt = runs.attempt AND jobs.oban_jobs.attempted_by[2] = runs.producer AND jobs.oban_jobs.attempted_at = runs.attempted_at 
 LIMIT $10::INTEGER) AS held ON true), 
written AS 
(INSERT INTO jobs.oban_events (job_id, kind, n, at, value) SELECT ours.id AS id, lines.kind AS kind, lines.n AS n, timezone('UTC', to_timestamp(lines.moment)) AS timezone_1, CAST(lines.value AS JSONB) AS value 
FROM unnest($1::INTEGER[], $2::SMALLINT[], $3::BIGINT[], $4::DOUBLE PRECISION[], $5::TEXT[]) AS lines(run, kind, n, moment, value) JOIN ours ON ours.place = lines.run ORDER BY ours.id, lines.kind, lines.n), 
trimmed AS 
(DELETE FROM jobs.oban_events USING unnest($11::BIGINT[], $12::BIGINT[]) AS "old"(cut_id, cut) WHERE jobs.oban_events.job_id = "old".cut_id AND jobs.oban_events.kind = 1 AND jobs.oban_events.n <= "old".cut)
 SELECT ours.place, CASE WHEN ($13::VARCHAR IS NOT NULL) THEN (SELECT pg_notify($14::VARCHAR, $13::VARCHAR) AS pg_notify_1) IS NOT NULL END AS told 
FROM ours
