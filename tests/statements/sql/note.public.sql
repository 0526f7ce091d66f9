INSERT INTO oban_progress (job_id, done, total, at, note) SELECT runs.id, runs.done, runs.total, timezone('UTC', now()) AS timezone_1, runs.note 
FROM unnest($1::BIGINT[], $2::SMALLINT[], $3::TEXT[], $4::TIMESTAMP WITHOUT TIME ZONE[], $5::DOUBLE PRECISION[], $6::DOUBLE PRECISION[], $7::TEXT[]) AS runs(id, attempt, producer, attempted_at, done, total, note) JOIN LATERAL (SELECT oban_jobs.id AS id 
FROM oban_jobs 
WHERE oban_jobs.id = runs.id AND CAST(oban_jobs.state AS TEXT) = 'executing' AND oban_jobs.attempt = runs.attempt AND oban_jobs.attempted_by[2] = runs.producer AND oban_jobs.attempted_at = runs.attempted_at 
 LIMIT $8::INTEGER) AS held ON true ORDER BY runs.id ON CONFLICT (job_id) DO UPDATE SET done = excluded.done, total = excluded.total, at = excluded.at, note = excluded.note RETURNING oban_progress.job_id
