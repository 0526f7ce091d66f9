DELETE FROM jobs.oban_producers WHERE CAST(jobs.oban_producers.uuid AS TEXT) = any($1::TEXT[]) RETURNING jobs.oban_producers.queue
