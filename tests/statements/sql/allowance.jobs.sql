SELECT found.room AS room, greatest(found.opens - CAST(EXTRACT(epoch FROM clock_timestamp()) AS DOUBLE PRECISION), $1::INTEGER) AS wait 
FROM jobs.oban_allowance(CAST($2::VARCHAR AS TEXT), CAST($3::VARCHAR AS TEXT), CAST($4::INTEGER AS INTEGER), CAST($5::FLOAT AS DOUBLE PRECISION), CAST($6::BOOLEAN AS BOOLEAN), CAST(EXTRACT(epoch FROM clock_timestamp()) AS DOUBLE PRECISION)) AS found
