SELECT pg_notify($1::VARCHAR, $2::VARCHAR) AS pg_notify_1
