SELECT count(*) AS count_1 
FROM unnest($1::BIGINT[], $2::SMALLINT[], $3::BIGINT[], $4::TEXT[]) AS lines(id, kind, n, value) JOIN oban_events ON oban_events.job_id = lines.id AND oban_events.kind = lines.kind AND oban_events.n = lines.n AND oban_events.value = CAST(lines.value AS JSONB)
