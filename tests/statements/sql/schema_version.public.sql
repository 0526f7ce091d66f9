SELECT max(oban_schema.version) AS max_1 
FROM oban_schema
