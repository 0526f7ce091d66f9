SELECT CAST(NULL AS TEXT) AS anon_1, 0, CAST(NULL AS TEXT) AS anon__1 
WHERE set_config('synchronous_commit', 'off', true) IS NULL UNION ALL SELECT found.queue, found.jobs, found.ended 
FROM oban_release_flows(200) AS found UNION ALL SELECT found.queue, found.jobs, CAST(NULL AS TEXT) AS anon_1 
FROM oban_release_signals(200) AS found UNION ALL SELECT found.queue, found.jobs, CAST(NULL AS TEXT) AS anon_1 
FROM oban_release_batches(200) AS found UNION ALL SELECT found.queue, found.jobs, CAST(NULL AS TEXT) AS anon_1 
FROM oban_release_chains(200) AS found UNION ALL SELECT '', 0, CAST(jsonb_build_object('xid', txid_current_if_assigned(), 'since', timezone('UTC', statement_timestamp())) AS TEXT) AS jsonb_build_object_1
