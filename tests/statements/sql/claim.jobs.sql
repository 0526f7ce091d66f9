SELECT pg_try_advisory_lock_shared(keys.key) AS pg_try_advisory_lock_shared_1, keys.key, set_config($1::VARCHAR, $2::VARCHAR, $3::BOOLEAN) AS set_config_1, set_config($4::VARCHAR, $5::VARCHAR, $6::BOOLEAN) AS set_config_5, set_config($7::VARCHAR, $8::VARCHAR, $9::BOOLEAN) AS set_config_9 
FROM unnest(CAST($10::TEXT[] AS BIGINT[])) AS keys(key)
