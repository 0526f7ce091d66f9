SELECT coalesce(max(oban_schema.version), $1::INTEGER) AS coalesce_1 
FROM oban_schema
