DELETE FROM oban_producers WHERE (EXISTS (SELECT * 
FROM unnest($1::TEXT[], $2::TEXT[]) AS given(key, beat) 
WHERE given.key = CAST(oban_producers.uuid AS TEXT) AND given.beat = CAST(oban_producers.updated_at AS TEXT))) AND NOT (EXISTS (SELECT * 
FROM oban_jobs 
WHERE oban_jobs.state = 'executing' AND coalesce(lower(oban_jobs.attempted_by[2]), '') = CAST(oban_producers.uuid AS TEXT))) AND (EXISTS (SELECT * 
FROM oban_leaders 
WHERE oban_leaders.name = $3::VARCHAR AND oban_leaders.node = $4::VARCHAR AND oban_leaders.expires_at > timezone('UTC', now()))) RETURNING CAST(oban_producers.uuid AS TEXT) AS uuid
