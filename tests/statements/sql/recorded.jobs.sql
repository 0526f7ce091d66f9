SELECT count(*) AS count_1 
FROM unnest($1::BIGINT[], $2::SMALLINT[], $3::BIGINT[], $4::TEXT[]) AS lines(id, kind, n, value) JOIN jobs.oban_events ON jobs.oban_events.job_id = lines.id AND jobs.oban_events.kind = lines.kind AND jobs.oban_events.n = lines.n AND jobs.oban_events.value = CAST(lines.value AS JSONB)
