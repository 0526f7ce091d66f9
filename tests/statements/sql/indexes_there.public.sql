SELECT CAST(pg_catalog.pg_class.relname AS TEXT) AS relname 
FROM pg_catalog.pg_class JOIN pg_catalog.pg_index ON pg_catalog.pg_index.indexrelid = pg_catalog.pg_class.oid 
WHERE pg_catalog.pg_class.relname = any($1::TEXT[]) AND pg_catalog.pg_index.indisvalid
