"""What users declare: workers and their arguments, outcomes, hooks, cron entries.

Belongs here: what is known about a job's function without a database: its name, options, parameters, and what it may
return. Does not: running it (see `runtime`), and writing its jobs (see `enqueueing`).
"""
