INSERT INTO oban_news (batch_id, state) SELECT given.batch, 'check' 
FROM unnest(CAST($1::TEXT[] AS BIGINT[])) AS given(batch)
