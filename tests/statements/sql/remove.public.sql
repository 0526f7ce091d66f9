DELETE FROM oban_crons WHERE oban_crons.name = $1::VARCHAR RETURNING oban_crons.name
