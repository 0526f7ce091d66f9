UPDATE jobs.oban_workflows SET parent_id=NULL, graft_of=NULL WHERE jobs.oban_workflows.graft_of = $1::BIGINT
