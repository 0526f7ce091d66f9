SELECT pg_notify(sent.channel, sent.payload) AS pg_notify_1 
FROM unnest($1::TEXT[], $2::TEXT[]) AS sent(channel, payload)
