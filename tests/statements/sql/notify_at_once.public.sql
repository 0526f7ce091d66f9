SELECT set_config($1::VARCHAR, $2::VARCHAR, true) AS set_config_1, pg_notify(sent.channel, sent.payload) AS pg_notify_1 
FROM unnest($3::TEXT[], $4::TEXT[]) AS sent(channel, payload)
