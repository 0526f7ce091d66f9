"""Reads and explains jobs, queues, nodes and cron entries, for the command line, health checks and dashboards.

Belongs here: what reads and explains; it returns values, writes nothing and prints nothing. Does not: changing what it
shows (see `control`), and the options, tables and formats of a command (see `cli`).
"""
