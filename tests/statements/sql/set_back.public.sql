UPDATE oban_crons SET last_tick=least(oban_crons.last_tick, CAST($1::TIMESTAMP WITHOUT TIME ZONE AS TIMESTAMP WITHOUT TIME ZONE)), since=least(oban_crons.since, CAST($1::TIMESTAMP WITHOUT TIME ZONE AS TIMESTAMP WITHOUT TIME ZONE)) WHERE oban_crons.name = $2::VARCHAR AND greatest(oban_crons.last_tick, oban_crons.since) > CAST($1::TIMESTAMP WITHOUT TIME ZONE AS TIMESTAMP WITHOUT TIME ZONE) AND (EXISTS (SELECT * 
FROM oban_leaders 
WHERE oban_leaders.name = $3::VARCHAR AND oban_leaders.node = $4::VARCHAR AND oban_leaders.expires_at > timezone('UTC', now()))) RETURNING oban_crons.name
