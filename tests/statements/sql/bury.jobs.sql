DELETE FROM jobs.oban_producers WHERE (EXISTS (SELECT * 
FROM unnest($1::TEXT[], $2::TEXT[]) AS given(key, beat) 
WHERE given.key = CAST(jobs.oban_producers.uuid AS TEXT) AND given.beat = CAST(jobs.oban_producers.updated_at AS TEXT))) AND NOT (EXISTS (SELECT * 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'executing' AND coalesce(lower(jobs.oban_jobs.attempted_by[2]), '') = CAST(jobs.oban_producers.uuid AS TEXT))) AND (EXISTS (SELECT * 
FROM jobs.oban_leaders 
WHERE jobs.oban_leaders.name = $3::VARCHAR AND jobs.oban_leaders.node = $4::VARCHAR AND jobs.oban_leaders.expires_at > timezone('UTC', now()))) RETURNING CAST(jobs.oban_producers.uuid AS TEXT) AS uuid
