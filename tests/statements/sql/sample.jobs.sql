SELECT count(*) AS jobs, CAST(avg(pg_column_size("some".args)) AS FLOAT) AS args, max(pg_column_size("some".args)) AS largest_args, max(pg_column_size("some".errors)) AS largest_errors 
FROM jobs.oban_jobs AS "some" TABLESAMPLE system($1::FLOAT)
