"""Changes that users and operators ask for: of jobs, queues and cron entries; and waiting for a job's result.

Belongs here: what writes rows because a person or program called it. Does not: what only reads (see `insight`), and
what the nodes do about a change (see `runtime`).
"""
