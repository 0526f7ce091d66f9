SELECT wanted.queue 
FROM (SELECT given.queue AS queue, CAST(given.fields AS TEXT[]) AS fields 
FROM unnest($1::TEXT[], $2::TEXT[]) AS given(queue, fields) LEFT OUTER JOIN jobs.oban_partitions ON jobs.oban_partitions.queue = given.queue 
WHERE coalesce(jobs.oban_partitions.by, '{}') != CAST(given.fields AS TEXT[]) ORDER BY given.queue) AS wanted 
WHERE jobs.oban_partition(wanted.queue, wanted.fields)
