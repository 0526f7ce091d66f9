DELETE FROM oban_producers WHERE CAST(oban_producers.uuid AS TEXT) = any($1::TEXT[]) RETURNING oban_producers.queue
