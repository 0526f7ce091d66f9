SELECT greatest((SELECT greatest(CASE WHEN CAST($1::BOOLEAN AS BOOLEAN) THEN oban_rates.tat - ((CAST($2::INTEGER AS INTEGER) - CAST($3::BIGINT AS BIGINT)) * CAST($4::FLOAT AS DOUBLE PRECISION)) / CAST(CAST($2::INTEGER AS INTEGER) AS NUMERIC) ELSE CASE WHEN (oban_rates.ns[$5::INTEGER] >= oban_rates.ns[cardinality(oban_rates.ns)] - (CAST($2::INTEGER AS INTEGER) - CAST($3::BIGINT AS BIGINT))) THEN $6::INTEGER ELSE (SELECT min(entries.at) AS min_1 
FROM unnest(oban_rates.ts, oban_rates.ns[$7::INTEGER:cardinality(oban_rates.ns)]) AS entries(at, upto) 
WHERE entries.upto >= oban_rates.ns[cardinality(oban_rates.ns)] - (CAST($2::INTEGER AS INTEGER) - CAST($3::BIGINT AS BIGINT))) + CAST($4::FLOAT AS DOUBLE PRECISION) END END, oban_rates.until) - CAST(EXTRACT(epoch FROM clock_timestamp()) AS DOUBLE PRECISION) AS anon_1 
FROM oban_rates 
WHERE oban_rates.queue = CAST($8::VARCHAR AS TEXT) AND oban_rates.key = CASE WHEN (CAST(CAST(CAST($9::VARCHAR AS TEXT) AS JSONB) AS TEXT) IS NULL) THEN '' ELSE (SELECT CAST(oban_partitions.epoch AS TEXT) || $10::VARCHAR || CASE WHEN (octet_length(CAST(CAST(CAST($9::VARCHAR AS TEXT) AS JSONB) AS TEXT)) <= $11::INTEGER) THEN CAST(CAST(CAST($9::VARCHAR AS TEXT) AS JSONB) AS TEXT) ELSE md5(CAST(CAST(CAST($9::VARCHAR AS TEXT) AS JSONB) AS TEXT)) END AS anon_2 
FROM oban_partitions 
WHERE oban_partitions.queue = $8::VARCHAR) END), $12::INTEGER) AS greatest_1
