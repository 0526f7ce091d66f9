SELECT oban_delete_flow($1::BIGINT) AS oban_delete_flow_1
