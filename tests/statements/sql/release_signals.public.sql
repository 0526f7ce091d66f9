SELECT CAST(NULL AS TEXT) AS anon_1, 0, CAST(NULL AS TEXT) AS anon__1 
WHERE set_config('synchronous_commit', 'off', true) IS NULL UNION ALL SELECT found.queue, found.jobs, CAST(NULL AS TEXT) AS anon_1 
FROM oban_release_signals(200) AS found
