SELECT jobs.oban_outcome($1::BIGINT) AS outcome, CAST(jobs.oban_value($1::BIGINT) AS TEXT) AS value
