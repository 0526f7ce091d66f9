SELECT set_config($1::VARCHAR, $2::VARCHAR, $3::BOOLEAN) AS set_config_1, set_config($4::VARCHAR, $5::VARCHAR, $6::BOOLEAN) AS set_config_5
