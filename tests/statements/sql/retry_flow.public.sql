SELECT oban_retry_flow($1::BIGINT, CAST($2::VARCHAR AS TEXT)) AS oban_retry_flow_1
