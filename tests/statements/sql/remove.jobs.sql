DELETE FROM jobs.oban_crons WHERE jobs.oban_crons.name = $1::VARCHAR RETURNING jobs.oban_crons.name
