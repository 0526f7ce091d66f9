SELECT given.queue, CASE WHEN given.counted THEN (SELECT count(*) AS count_1 
FROM LATERAL (SELECT jobs.oban_jobs.id AS id 
FROM jobs.oban_jobs 
WHERE jobs.oban_jobs.state = 'executing' AND jobs.oban_jobs.queue = given.queue 
 LIMIT $1::INTEGER) AS executing) END AS running, CASE WHEN (given.allowed IS NOT NULL) THEN by_rate.room END AS room, greatest(by_rate.opens - CAST(EXTRACT(epoch FROM clock_timestamp()) AS DOUBLE PRECISION), $2::INTEGER) AS wait, at_rest.room = 0 AS is_suspended, greatest(at_rest.opens - CAST(EXTRACT(epoch FROM clock_timestamp()) AS DOUBLE PRECISION), $3::INTEGER) AS rest 
FROM unnest($4::TEXT[], CAST($5::TEXT[] AS INTEGER[]), CAST($6::TEXT[] AS DOUBLE PRECISION[]), CAST($7::TEXT[] AS BOOLEAN[]), CAST($8::TEXT[] AS BOOLEAN[])) AS given(queue, allowed, periods, buckets, counted) JOIN jobs.oban_allowance(given.queue, '', given.allowed, given.periods, given.buckets, CAST(EXTRACT(epoch FROM clock_timestamp()) AS DOUBLE PRECISION)) AS by_rate ON true JOIN jobs.oban_allowance(given.queue, '', CAST(NULL AS INTEGER), CAST(CAST(NULL AS INTEGER) AS DOUBLE PRECISION), false, CAST(EXTRACT(epoch FROM clock_timestamp()) AS DOUBLE PRECISION)) AS at_rest ON true
