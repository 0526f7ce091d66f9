UPDATE oban_crons SET last_tick=CAST($1::TIMESTAMP WITHOUT TIME ZONE AS TIMESTAMP WITHOUT TIME ZONE) WHERE oban_crons.name = $2::VARCHAR AND oban_crons.expression = $3::VARCHAR AND oban_crons.timezone = $4::VARCHAR AND NOT oban_crons.paused AND CAST(greatest(oban_crons.last_tick, oban_crons.since) AS TIMESTAMP WITHOUT TIME ZONE) < $5::TIMESTAMP WITHOUT TIME ZONE AND (EXISTS (SELECT * 
FROM oban_leaders 
WHERE oban_leaders.name = $6::VARCHAR AND oban_leaders.node = $7::VARCHAR AND oban_leaders.expires_at > timezone('UTC', now()))) RETURNING oban_crons.spec
