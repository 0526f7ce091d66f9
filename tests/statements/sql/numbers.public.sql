SELECT coalesce((SELECT max(oban_events.n) AS max_1 
FROM oban_events 
WHERE oban_events.job_id = given.id AND oban_events.kind = given.kind), 0) AS coalesce_1 
FROM unnest($1::BIGINT[], $2::SMALLINT[]) WITH ORDINALITY AS given(id, kind, place) ORDER BY given.place
