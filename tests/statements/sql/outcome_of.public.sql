SELECT oban_outcome($1::BIGINT) AS outcome, CAST(oban_value($1::BIGINT) AS TEXT) AS value
