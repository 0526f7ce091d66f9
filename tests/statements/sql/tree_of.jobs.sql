SELECT jobs.oban_flow_tree($1::BIGINT) AS oban_flow_tree_1
