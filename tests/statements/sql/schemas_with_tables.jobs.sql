SELECT n.nspname FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.relname = 'oban_schema' AND c.relkind IN ('r', 'p') ORDER BY n.nspname
