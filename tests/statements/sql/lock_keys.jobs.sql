SELECT pg_advisory_xact_lock(hashtextextended(keys.key, 7811887)) AS pg_advisory_xact_lock_1 
FROM unnest($1::TEXT[]) AS keys(key)
