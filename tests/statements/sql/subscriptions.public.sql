SELECT CAST(pg_catalog.pg_subscription.subname AS TEXT) AS subname 
FROM pg_catalog.pg_subscription JOIN pg_catalog.pg_subscription_rel ON pg_catalog.pg_subscription_rel.srsubid = pg_catalog.pg_subscription.oid 
WHERE pg_catalog.pg_subscription_rel.srrelid = 'oban_jobs'::regclass AND pg_catalog.pg_subscription.subenabled IS true ORDER BY pg_catalog.pg_subscription.subname
