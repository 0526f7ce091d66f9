SELECT pg_advisory_unlock_shared(keys.key) AS pg_advisory_unlock_shared_1 
FROM unnest(CAST($1::TEXT[] AS BIGINT[])) AS keys(key)
